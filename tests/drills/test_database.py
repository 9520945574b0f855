"""Drills of the database: killed, full of connections, kept busy by a query that runs away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline_platform.advisory_performance.checks import RUNBOOK
from pipeline_platform.operations import incident_store as store
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import embedded
from tests.assets.content import database_content, lake_content
from tests.assets.platform_runs import deliver, sample
from tests.drills.bronze import lines_in, rows_of
from tests.drills.drilling import Drilled, moved_clock
from tests.drills.rows import HEALTH, LOOK, OUTSIDE, Fault

ADVISORY = "advisory_performance"
CONNECTIONS = Fault(
    name="database full of connections",
    how="a client with a role of its own opens sessions until the server refuses it",
    alert="check `database_connections`",
    severity="warning",
    route="capacity_thresholds",
    command="pipeline-platform db end --idle-for 1m",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of PostgreSQL's tables",
)
RUNAWAY = Fault(
    name="runaway query",
    how="a join without end, of another client",
    alert="check `longest_query`",
    severity="warning",
    route="performance_degradation",
    command="pipeline-platform db end --running-for 5m",
    waits="5 min",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of PostgreSQL's tables",
)
SKEW = Fault(
    name="clock skew",
    how="the platform's clock is put three hours ahead of the database's; a file arrives meanwhile",
    alert="check `clock_skew`",
    severity="warning",
    route="performance_degradation",
    command="timedatectl set-ntp true",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of the file in bronze against the file",
)
KILLED = Fault(
    name="database killed",
    how="SIGKILL of the embedded server and its processes",
    alert="`alerts send`",
    severity="critical",
    route="database_connectivity",
    command="pipeline-platform database start",
    cadence=OUTSIDE,
    compared="rows of PostgreSQL's tables and of the lake's",
)
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000) b"


@pytest.fixture
def analyst(drilled: Drilled) -> Iterator[str]:
    """Somebody else's way into the database."""
    with psycopg.connect(drilled.services.database.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE analyst LOGIN PASSWORD 'analyst' IN ROLE pg_read_all_data")
    yield make_conninfo(drilled.services.database.url, user="analyst", password="analyst")
    with psycopg.connect(drilled.services.database.url, autocommit=True) as connection:
        connection.execute("DROP ROLE analyst")


def test_the_database_is_full_of_connections(drill, drilled: Drilled, analyst: str) -> None:
    it = drill(CONNECTIONS)
    before = database_content(drilled.services)
    with ExitStack() as opened:
        with pytest.raises(psycopg.OperationalError, match="slots are reserved"):
            take_every_connection(analyst, opened)
        it.strikes()
        incident = it.is_seen(ADVISORY, by=ADVISORY)
        # Nobody waits a minute here until the sessions have been idle for one.
        time.sleep(1.1)
        it.is_mended_by("pipeline-platform db end --idle-for 1s")
        is_green = it.is_green(by=ADVISORY)
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert is_green
    assert database_content(drilled.services) == before


def test_a_query_runs_away(drill, drilled: Drilled, analyst: str, monkeypatch) -> None:
    it = drill(RUNAWAY)
    # Nobody waits five minutes, and the database's clock can't be moved.
    limited = RUNBOOK.thresholds["longest_query"]
    second = limited.bands[0].model_copy(update={"limit": 1 / 60})
    changed = limited.model_copy(update={"bands": [second]})
    monkeypatch.setitem(RUNBOOK.thresholds, "longest_query", changed)
    before = database_content(drilled.services)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(analyst) as connection:
        query = pool.submit(connection.execute, ENDLESS)
        it.strikes()
        time.sleep(1)
        incident = it.is_seen(ADVISORY, by=ADVISORY)
        it.is_mended_by("pipeline-platform db end --running-for 1s")
        is_green = it.is_green(by=ADVISORY)
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.result(10)
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert is_green
    assert database_content(drilled.services) == before


def test_clocks_differ(drill, drilled: Drilled) -> None:
    it = drill(SKEW)
    file = sample(accounts=1, days=2, end=utc_now().date() - timedelta(days=400)).files[0]
    with moved_clock(timedelta(hours=3)):
        it.strikes()
        deliver(drilled.services.settings, file.name, file.content, arrived_at=utc_now())
        drilled.command("pipeline-platform landing ingest")
        incident = it.is_seen(ADVISORY, by=ADVISORY)
    it.command_began = time.perf_counter()
    is_green = it.is_green(by=ADVISORY)
    assert incident.severity == it.fault.severity
    assert is_green
    assert rows_of(drilled, file.content) == (lines_in(file.content), 0)


def test_the_database_is_killed(drill, drilled: Drilled) -> None:
    it = drill(KILLED)
    settings = drilled.services.settings
    before = {**database_content(drilled.services), **lake_content(drilled.services)}
    kill(embedded.status(settings).pid)
    it.strikes()
    sent = drilled.command("pipeline-platform alerts send")
    it.until_alert = time.perf_counter() - it.began
    told = drilled.told()
    it.is_mended_by()
    drilled.command("pipeline-platform alerts send")
    it.until_green = time.perf_counter() - it.command_began
    with drilled.services.database.connection() as connection:
        kept = store.incidents(connection, pipeline=ADVISORY, limit=1)[0]
    assert (sent.exit_code, told[0].startswith("[CRITICAL]")) == (75, True)
    assert (kept.severity, kept.route, kept.state, kept.remedy.command) == (
        it.fault.severity, it.fault.route, "RESOLVED", it.fault.command,
    )  # fmt: skip
    assert {**database_content(drilled.services), **lake_content(drilled.services)} == before


def take_every_connection(address: str, opened: ExitStack) -> None:
    while True:
        opened.enter_context(psycopg.connect(address, autocommit=True))


def kill(postmaster: int) -> None:
    """Kill a server with all its processes, as the kernel does when memory ends."""
    processes = [psutil.Process(postmaster)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, 10)
