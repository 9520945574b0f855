"""Changed tolerances: months are ruled on anew, nothing is loaded or computed again (SA-63)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_platform.advisory_performance import run_context
from pipeline_platform.advisory_performance.automation import reconcile_job
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    EXTERNAL_FLOWS,
    RECONCILIATION,
    REPORTED_RETURNS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_RECONCILIATION_DAILY,
    VENDOR_ROWS,
)
from pipeline_platform.lake.publications import Publication
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.services import Services
from tests.assets.platform_runs import (
    AUGUST,
    OCTOBER,
    deliver_sample,
    process_months,
    running,
    sample,
    settings_at,
)

UNTOUCHED = (
    VENDOR_ROWS,
    VALUATIONS,
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    TIME_WEIGHTED_RETURNS,
    ACCOUNT_STATES,
)
WIDER_BPS = 100_000.0


@dataclass(frozen=True)
class State:
    """What the platform says of the months at an instant."""

    statuses: Counter[str]
    served: Counter[str]
    tolerances: list[tuple[str, float]]
    publications: dict[str, Publication | None]
    breaches_in_marts: int

    @classmethod
    def of(cls, services: Services) -> "State":
        lake = services.lake
        with services.connect() as con:
            statuses = lake.relation(con, RECONCILIATION).project("period, reconciliation_status")
            found = Counter(status for period, status in statuses.fetchall() if period == "daily")
            breaches = 0
            if lake.partitions(VENDOR_RECONCILIATION_DAILY):
                marts = lake.relation(con, VENDOR_RECONCILIATION_DAILY)
                breaches = sum(row[0] for row in marts.project("breach_count").fetchall())
        with services.database.connection() as connection:
            served = connection.execute("SELECT reconciliation_status FROM performance_data")
            tolerances = connection.execute(
                "SELECT period, tolerance_bps FROM tolerances_history ORDER BY tolerance_id"
            )
            return cls(
                found,
                Counter(status for (status,) in served.fetchall()),
                [(period, float(value)) for period, value in tolerances.fetchall()],
                {table.name: lake.last_publication(table) for table in UNTOUCHED},
                breaches,
            )


@dataclass(frozen=True)
class Ruled:
    """Before and after the job ran under a wider tolerance of daily returns, and once more."""

    before: State
    after: State
    repeated: State


@pytest.fixture(scope="module")
def ruled(new_database, tmp_path_factory) -> Iterator[Ruled]:
    settings = settings_at(tmp_path_factory.mktemp("reconcile"), new_database())
    deliver_sample(settings, sample(fault_rate=0.02))
    with running(settings) as platform, pytest.MonkeyPatch.context() as patch:
        run = RunContext(platform.services, "the months")
        months = month_range(AUGUST, OCTOBER)
        list(ingest_arrivals(run))
        process_months(run, months)
        before = State.of(platform.services)
        edit_runbook(patch, tmp_path_factory.mktemp("edited"))
        states = []
        for _ in range(2):
            result = platform.run(reconcile_job.name, tags=range_tags(AUGUST, OCTOBER))
            assert result.success
            states.append(State.of(platform.services))
        yield Ruled(before, *states)
    load_runbook.cache_clear()


def edit_runbook(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have this process read a runbook in which somebody wrote another tolerance."""
    shipped = (run_context.FOLDER / "runbook.yaml").read_text()
    edited = shipped.replace("daily_bps: 1\n", f"daily_bps: {WIDER_BPS}\n")
    assert edited != shipped
    (folder / "runbook.yaml").write_text(edited)
    patch.setattr(run_context, "FOLDER", folder)
    load_runbook.cache_clear()


def test_what_was_a_breach_is_within_the_wider_tolerance(ruled: Ruled) -> None:
    assert ruled.before.statuses["BREACH"] > 0
    assert ruled.after.statuses["BREACH"] == 0


def test_nothing_but_breaches_is_ruled_on_otherwise(ruled: Ruled) -> None:
    moved = ruled.before.statuses["BREACH"]
    assert ruled.after.statuses["COMPLETED"] == ruled.before.statuses["COMPLETED"] + moved
    assert ruled.after.statuses.total() == ruled.before.statuses.total()


def test_the_marts_follow_the_new_ruling(ruled: Ruled) -> None:
    assert ruled.after.breaches_in_marts == 0


def test_the_served_days_carry_the_new_ruling(ruled: Ruled) -> None:
    assert ruled.after.served["BREACH"] < ruled.before.served["BREACH"]
    assert ruled.after.served.total() == ruled.before.served.total()


def test_the_change_is_recorded_in_one_row(ruled: Ruled) -> None:
    assert ruled.after.tolerances == [*ruled.before.tolerances, ("daily", WIDER_BPS)]


def test_the_same_tolerance_is_not_recorded_again(ruled: Ruled) -> None:
    assert ruled.repeated.tolerances == ruled.after.tolerances


def test_bronze_silver_and_returns_are_not_written(ruled: Ruled) -> None:
    assert None not in ruled.before.publications.values()
    assert ruled.after.publications == ruled.before.publications
