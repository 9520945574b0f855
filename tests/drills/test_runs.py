"""Drills of Dagster's own processes: a run that is stuck, a daemon that was killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.definitions import build_defs
from pipeline_platform.ingestion import files
from pipeline_platform.orchestration.daemons import SILENT_SECONDS, heartbeats
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.orchestration.run_processes import PROCESS_TAG, RunProcess
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.assets.content import database_content, lake_content
from tests.assets.platform_runs import QUIET, deliver, sample
from tests.drills.bronze import lines_in, rows_of
from tests.drills.drilling import Drilled, moved_clock
from tests.drills.rows import LOOK, OUTSIDE, Fault

ADVISORY = "advisory_performance"
INGEST = f"{ADVISORY}_ingest"
STUCK = Fault(
    name="stuck run",
    how="the process of an ingest is suspended while it holds a file",
    alert="a run that has not ended",
    severity="warning",
    route="performance_degradation",
    command="pipeline-platform run end RUN --reason stuck",
    waits="2 h",
    cadence=f"{LOOK}; after the command the sensor offers the file again within 15 min",
    compared="records of the file that it held, against bronze",
)
DAEMON = Fault(
    name="killed daemon",
    how="SIGKILL of `dagster-daemon`",
    alert="the daemon's signs of life",
    severity="critical",
    route="daemon_silent",
    command="pipeline-platform daemon",
    waits="2 min",
    cadence=OUTSIDE,
    compared="rows of PostgreSQL's tables and of the lake's",
)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
SECONDS = 60


def ingest_until_it_hangs(settings: Settings) -> None:
    """Run the ingest as a process of Dagster does; it is suspended before it publishes."""
    files._publish = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)
    with Services(settings) as services, open_instance(settings) as instance:
        definitions = build_defs(settings, {"services": services})
        definitions.resolve_job_def(INGEST).execute_in_process(
            instance=instance,
            run_config={**QUIET, **ingest_config(VENDOR_ROWS, ())},
            tags={PROCESS_TAG: RunProcess.current().to_tag()},
        )


def test_a_run_is_stuck(drill, drilled: Drilled) -> None:
    it = drill(STUCK)
    file = sample(accounts=3, days=2, end=utc_now().date() - timedelta(days=700)).files[1]
    deliver(drilled.services.settings, file.name, file.content, arrived_at=utc_now())
    child = PROCESSES.Process(target=ingest_until_it_hangs, args=(drilled.services.settings,))
    child.start()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    it.strikes()
    with moved_clock(timedelta(minutes=121)):
        incident = it.is_seen(ADVISORY)
    command = it.fault.command.replace("RUN", str(incident.remedy.command.split()[3]))
    it.is_mended_by(command)
    child.join(SECONDS)
    drilled.run(INGEST, run_config=ingest_config(VENDOR_ROWS, ()))
    assert it.is_green()
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, command)
    assert rows_of(drilled, file.content) == (lines_in(file.content), 0)


@contextmanager
def running_daemon(drilled: Drilled, workspace: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the row's command in a process of its own; it is killed at the end."""
    program = Path(sys.executable).with_name("pipeline-platform")
    process = subprocess.Popen(
        [str(program), "daemon", "--workspace", str(workspace)],
        env={**os.environ, **drilled.shell.environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)


def test_the_daemon_is_killed(drill, drilled: Drilled, tmp_path: Path) -> None:
    it = drill(DAEMON)
    # Without any code the daemon starts in seconds; what it says of itself is the same.
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: []\n", "utf-8")
    before = {**database_content(drilled.services), **lake_content(drilled.services)}
    with running_daemon(drilled, workspace):
        wait_for(lambda: lives(drilled))
    killed_at = utc_now()
    it.strikes()
    with moved_clock(timedelta(seconds=SILENT_SECONDS + 5)):
        incident = it.is_seen("operations")
    it.command_began = time.perf_counter()
    with running_daemon(drilled, workspace):
        wait_for(lambda: lives(drilled, since=killed_at))
        assert it.is_green()
    forget_daemon(drilled)
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert {**database_content(drilled.services), **lake_content(drilled.services)} == before


def lives(drilled: Drilled, since: datetime | None = None) -> bool:
    """Tell whether each part of the daemon has said that it lives, since an instant if given."""
    beats = [one.beat_at for one in heartbeats(drilled.instance)]
    return all(beat is not None and (since is None or beat > since) for beat in beats)


def forget_daemon(drilled: Drilled) -> None:
    """Let other drills find a platform on which no daemon is expected."""
    drilled.instance.wipe_daemon_heartbeats()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "It did not happen in time."
        time.sleep(0.05)
