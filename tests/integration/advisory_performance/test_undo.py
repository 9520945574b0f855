"""A workflow's run taken back with what was served, and what was made from a file (B-5, SA-68)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    TABLES,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.commands.pipelines import reload_of
from pipeline_platform.lake.reversion import compare
from pipeline_platform.operations.impact import Start, subjects_of_files, touched_by
from pipeline_platform.operations.undo import Undoing
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import stops
from tests.assets.content import Content, database_content, differences, lake_content
from tests.assets.platform_runs import process_months
from tests.integration.advisory_performance.test_withdrawal import HEADER

MONTHS = [date(2024, 9, 1), date(2024, 10, 1)]
LEFT_OUT = {"partition_work"}
"""It says that the months wait again, which they did before."""


def content(services: Services) -> Content:
    found = {**lake_content(services), **database_content(services)}
    return {name: rows for name, rows in found.items() if name not in LEFT_OUT}


def deliver(services: Services, number: int, value: float) -> str:
    """Take in a file of two accounts and two months; return its hash."""
    lines = "".join(
        f"{account},2024-{month}-{day},{value + day},,,,,USD\n"
        for account in ("A-1", f"B-{number}")
        for month, day in (("09", 27), ("09", 30), ("10", 10), ("10", 11))
    )
    services.landing(PIPELINE).put(f"standard_{number}.csv", (HEADER + lines).encode())
    (outcome,) = ingest_arrivals(RunContext(services, f"ingest-{number}"))
    return str(outcome.sha256)


def process(services: Services, run_id: str) -> None:
    run = RunContext(services, run_id)
    process_months(run, MONTHS)


def undoing(services: Services) -> Undoing:
    return Undoing(
        services,
        PIPELINE,
        TABLES,
        lambda _key, _keys: {},
        "undo",
        utc_now(),
        reload=reload_of(services, PIPELINE, "undo"),
    )


@dataclass
class Told:
    """A platform after two deliveries, and after the second workflow was undone."""

    services: Services
    before: Content
    processed: Content
    undone: Content
    rows_changed: tuple[int, int]
    second: str


@pytest.fixture(scope="module")
def told(new_database, tmp_path_factory) -> Iterator[Told]:
    home: Path = tmp_path_factory.mktemp("undo")
    url = SecretStr(new_database())
    with Services(Settings(home=home, environment="test", database_url=url)) as services:
        deliver(services, 1, 100.0)
        process(services, "workflow-1")
        second = deliver(services, 2, 105.0)
        before = content(services)
        process(services, "workflow-2")
        processed = content(services)
        with services.database.transaction() as connection:
            stops.stop(connection, PIPELINE, by="test", reason="undo", now=utc_now())
        work = undoing(services)
        plan = work.plan("workflow-2", "quarantine")
        (returns,) = [one for one in plan.reversions if one.table is TIME_WEIGHTED_RETURNS]
        found = compare(services.lake, returns)
        work.apply("workflow-2", "quarantine", by="test", reason="wrong code")
        yield Told(
            services,
            before,
            processed,
            content(services),
            (found.rows_lost, found.rows_regained),
            second,
        )


def test_lake_served_rows_and_register_are_what_they_were_before(told: Told) -> None:
    assert differences(told.before, told.undone) == {}


def test_the_run_had_changed_what_is_served(told: Told) -> None:
    changed = differences(told.before, told.processed)
    assert {"performance_data", "time_weighted_returns", "valuations"} <= changed.keys()


def test_the_preview_counts_rows_that_go_and_come_back(told: Told) -> None:
    gone, regained = told.rows_changed
    assert (gone > 0, regained > 0) == (True, True)


def test_the_months_wait_again(told: Told) -> None:
    with told.services.database.connection() as connection:
        rows = connection.execute("SELECT partition_key FROM partition_work ORDER BY 1").fetchall()
    assert [key for (key,) in rows] == [str(month) for month in MONTHS]


def test_processed_again_it_is_what_the_run_had_made(told: Told) -> None:
    with told.services.database.transaction() as connection:
        stops.resume(connection, PIPELINE, by="test", reason=None, now=utc_now())
    process(told.services, "workflow-3")
    served = {"performance_data": told.processed["performance_data"]}
    again = {"performance_data": content(told.services)["performance_data"]}
    assert differences(served, again) == {}


def test_whom_a_file_is_about_is_known(told: Told) -> None:
    found = subjects_of_files(told.services, TABLES, [told.second])
    assert found == {"A-1", "B-2"}


def test_what_was_made_from_a_file_names_the_runs(told: Told) -> None:
    start = Start(VENDOR_ROWS, frozenset(map(str, MONTHS)), None)
    made_from = {VALUATIONS.asset_key: set(map(str, MONTHS))}
    (one,) = touched_by(told.services, [start], TABLES, lambda _key, _keys: made_from)
    assert (one.built, one.runs[0]) == (tuple(map(str, MONTHS)), "workflow-1")
