"""Whether a run covers a day: by the partitions of the step's assets, else of its pipeline's."""

from datetime import date

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.history import covers, partitions_of_step


@dg.asset(
    key_prefix=["shop", "silver"],
    partitions_def=dg.DailyPartitionsDefinition("2025-11-01", end_date="2025-12-01"),
)
def daily() -> None: ...


@dg.asset(
    key_prefix=["funds", "gold"],
    partitions_def=dg.MonthlyPartitionsDefinition("2025-10-01", end_date="2025-12-01"),
)
def monthly() -> None: ...


@dg.asset_check(asset=["shop", "silver", "daily"])
def daily_has_rows() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DAILY_STEP, MONTHLY_STEP = "shop__silver__daily", "funds__gold__monthly"
CHECK_STEP = "shop__silver__daily_daily_has_rows"


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    definitions = dg.Definitions([daily, monthly], asset_checks=[daily_has_rows])
    return definitions.resolve_asset_graph()


def run_over(first: date, last: date) -> dg.DagsterRun:
    return dg.DagsterRun("workflow", tags=range_tags(first, last))


@pytest.mark.parametrize(
    ("pipeline", "step"),
    [("shop", DAILY_STEP), ("shop", CHECK_STEP), ("shop", "a_step_without_assets")],
)
def test_of_days_only_the_run_over_that_day_counts(graph, pipeline: str, step: str) -> None:
    wanted = partitions_of_step(graph, pipeline, step, date(2025, 11, 20))
    days = [date(2025, 11, 1), date(2025, 11, 20)]
    assert [covers(run_over(day, day), wanted) for day in days] == [False, True]


@pytest.mark.parametrize("step", [MONTHLY_STEP, "a_step_without_assets"])
def test_of_months_the_run_over_the_days_month_counts(graph, step: str) -> None:
    wanted = partitions_of_step(graph, "funds", step, date(2025, 11, 20))
    months = [date(2025, 10, 1), date(2025, 11, 1)]
    assert [covers(run_over(month, month), wanted) for month in months] == [False, True]


def test_a_range_covers_what_lies_in_it(graph) -> None:
    wanted = partitions_of_step(graph, "shop", DAILY_STEP, date(2025, 11, 20))
    assert covers(run_over(date(2025, 11, 19), date(2025, 11, 22)), wanted)


def test_a_day_outside_all_partitions_is_in_none(graph) -> None:
    assert partitions_of_step(graph, "shop", DAILY_STEP, date(2025, 12, 24)) == set()


def test_a_run_without_partitions_covers_none() -> None:
    assert not covers(dg.DagsterRun("ingest"), {"2025-11-20"})
