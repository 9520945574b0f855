"""Runs of the pipeline that can be killed: `python -m tests.faults.killing` forks one per request.

The process loads everything once and then forks a child for each line on its standard input, so
that a run starts in milliseconds. It kills the child itself, with SIGKILL and at the second that
the request names, and answers with how the child ended. Nothing is caught or cleaned up.
"""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pipeline_platform.advisory_performance import ingestion
from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.quality.conservation import gaps, imbalances
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.assets.content import Content, database_content, lake_content
from tests.assets.platform_runs import deliver_sample, process_months, sample, settings_at
from tests.faults import relabelling, web_events

ROOT = Path(__file__).parents[2]
SECONDS_BETWEEN_LOOKS = 0.002
ATTEMPTS_TO_FINISH = 5
MART_NAMES = {table.name for table in MARTS.tables}
Work = Literal["ingest", "months", "everything", "web_events", "relabelling"]


@dataclass(frozen=True)
class Ended:
    """How a run ended: after how long, and with which code (-9 = killed)."""

    seconds: float
    exit_code: int

    @property
    def was_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


class KillableRuns:
    """The forking process, for the length of a `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, settings: Settings, work: Work, *, kill_after: float | None = None) -> Ended:
        """Do the work in a process of its own; SIGKILL after so many seconds, if it still runs."""
        request = {
            "home": str(settings.home),
            "url": settings.database_url.get_secret_value(),
            "work": work,
            "kill_after": kill_after,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def finish(self, settings: Settings, work: Work = "everything") -> None:
        """Start the work again, unharmed, until nothing is left to do.

        One start may not be enough: the sessions of a killed run hold its locks until PostgreSQL
        notices that it is gone, and what it left is not touched before that.
        """
        for _ in range(ATTEMPTS_TO_FINISH):
            ended = self.run(settings, work)
            if ended.exit_code != 0:
                raise AssertionError(f"An undisturbed run ended with {ended.exit_code}.")
            if not left_to_do(settings, work):
                return
        raise AssertionError(f"Still to be done: {left_to_do(settings, work)}")


def delivered(home: Path, url: str) -> Settings:
    """Make a landing zone with files of every vendor, bad ones and corrections among them."""
    settings = settings_at(home, url)
    deliver_sample(
        settings,
        sample(accounts=2, days=30, fault_rate=0.01, has_file_faults=True, has_corrections=True),
    )
    return settings


def moments_to_kill(seed: int, seconds: float, count: int) -> list[float]:
    """Return random moments of work that takes so many seconds undisturbed, the early ones first.

    What a late kill lets be finished is not there to be killed again.
    """
    chance = random.Random(seed)
    return sorted(chance.uniform(0, seconds) for _ in range(count))


def left_to_do(settings: Settings, work: Work) -> list[str]:
    """Name what waits in the landing zone and in the register."""
    with Services(settings) as services:
        if work == "web_events":
            return web_events.left_to_do(services)
        if work == "relabelling":
            return relabelling.left_to_do(services)
        zone = services.landing(PIPELINE)
        files = [one.key for folder in ("incoming", "processing") for one in zone.list(folder)]
        months = months_to_process(services) if work != "ingest" else None
        return files + (list(months[0]) if months else [])


def end_state(settings: Settings) -> Content:
    """Return all content without run ids and times, and what lies where in the landing zone."""
    with Services(settings) as services:
        zone = services.landing(PIPELINE)
        keys = {
            folder: Counter((one.key,) for one in zone.list(folder))
            for folder in ("incoming", "processing", "archive", "quarantine")
        }
        lake = lake_content(services, without_instants=True)
        return {
            **{name: rows for name, rows in lake.items() if name not in MART_NAMES},
            **database_content(services),
            **keys,
        }


def leaks(settings: Settings) -> list[object]:
    """Return what the conservation ledger can't account for."""
    with Services(settings) as services, services.database.connection() as connection:
        return [
            *imbalances(connection, PIPELINE),
            *gaps(connection, PIPELINE, "landing_to_bronze", "bronze_to_silver"),
        ]


def do(settings: Settings, work: Work) -> None:
    """Ingest what waits, then take months to PostgreSQL until none waits."""
    with Services(settings) as services:
        if work == "web_events":
            web_events.do(services)
            return
        if work == "relabelling":
            relabelling.do(services)
            return
        run = RunContext(services, f"run-{os.getpid()}-{time.time_ns()}")
        if work in ("ingest", "everything"):
            list(ingestion.ingest_arrivals(run))
        while work in ("months", "everything") and (pending := months_to_process(services)):
            months = month_range(*pending[1:])
            process_months(run, months)


def _fork(request: Mapping[str, object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        do(settings_at(Path(str(request["home"])), str(request["url"])), request["work"])
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _watch(child: int, kill_after: float | None) -> Ended:
    begin = time.perf_counter()
    has_killed = False
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        seconds = time.perf_counter() - begin
        if pid:
            return Ended(seconds, os.waitstatus_to_exitcode(status))
        if kill_after is not None and seconds >= kill_after and not has_killed:
            os.kill(child, signal.SIGKILL)
            has_killed = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def main() -> None:
    """Serve requests until the standard input ends."""
    for module in ("great_expectations", "pyiceberg.catalog.sql", "pyiceberg.table"):
        importlib.import_module(module)  # loaded before any run is forked

    for line in sys.stdin:
        request = json.loads(line)
        ended = _watch(_fork(request), request["kill_after"])
        answer = {"seconds": ended.seconds, "exit_code": ended.exit_code}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
