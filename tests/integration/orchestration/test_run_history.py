"""What a pipeline's history says of partitions, failures and checks, on Dagster's real storage."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from pipeline_platform.failures import NotFoundError
from pipeline_platform.orchestration.automation import ONE_PARTITION_TAG, range_tags
from pipeline_platform.orchestration.history import (
    AssetState,
    History,
    partition_of,
    pipelines,
    standalone_checks,
    window_of,
)
from pipeline_platform.orchestration.instance import open_instance
from tests.integration.commands.conftest import own_platform

DAILY = dg.DailyPartitionsDefinition(start_date=datetime(2024, 1, 1, tzinfo=UTC))
WEEKLY = dg.WeeklyPartitionsDefinition(start_date=datetime(2024, 1, 1, tzinfo=UTC), day_offset=1)
EVENTS, WEEKS, FEED = (
    dg.AssetKey(["shop", "silver", name]) for name in ("events", "weeks", "feed")
)
WEDNESDAY = date(2024, 1, 17)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.asset(
    key=EVENTS,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("inside", asset=EVENTS)],
)
def events(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    if "fails" in context.run.tags:
        raise RuntimeError("It fails.")
    outcome = dg.AssetCheckResult(passed="bad" not in context.run.tags)
    return dg.MaterializeResult(metadata={"dagster/row_count": 7}, check_results=[outcome])


@dg.asset(key=WEEKS, partitions_def=WEEKLY)
def weeks() -> None:
    pass


@dg.asset(key=FEED)
def feed() -> None:
    pass


@dg.asset_check(asset=FEED)
def alone() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"outcome": "not measurable"})


DEFINITIONS = dg.Definitions(
    assets=[events, weeks, feed],
    asset_checks=[alone],
    jobs=[
        dg.define_asset_job("shop_days", selection=dg.AssetSelection.assets(EVENTS)),
        dg.define_asset_job("shop_weeks", selection=dg.AssetSelection.assets(WEEKS)),
        dg.define_asset_job("shop_feed", selection=dg.AssetSelection.assets(FEED)),
    ],
    executor=dg.in_process_executor,
)
GRAPH = DEFINITIONS.resolve_asset_graph()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    before = dict(os.environ)
    with own_platform(tmp_path_factory.mktemp("history")) as shell, shell.services() as services:
        opened = open_instance(services.settings)
        try:
            yield opened
        finally:
            opened.dispose()
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def history(instance: dg.DagsterInstance) -> History:
    """The history of an instance that remembers nothing of the tests before."""
    for record in instance.get_run_records():
        instance.delete_run(record.dagster_run.run_id)
    instance.wipe_assets([EVENTS, WEEKS, FEED])
    return History(GRAPH, instance)


def run(history: History, job: str, **tags: str) -> str:
    result = DEFINITIONS.resolve_job_def(job).execute_in_process(
        instance=history.instance, raise_on_error=False, run_config=QUIET, tags=tags
    )
    return result.run_id


def run_day(history: History, day: date, **tags: str) -> str:
    return run(history, "shop_days", **{ONE_PARTITION_TAG: str(day)}, **tags)


def state(history: History, asset: dg.AssetKey, day: date = WEDNESDAY) -> AssetState:
    fresh = History(history.graph, history.instance)
    return next(one for one in fresh.assets("shop", day) if one.asset == asset)


def test_pipelines_are_found_in_the_asset_graph() -> None:
    assert pipelines(GRAPH) == ["shop"]


def test_a_week_is_named_by_its_monday() -> None:
    assert partition_of(GRAPH, WEEKS, WEDNESDAY) == "2024-01-15"


def test_the_shortest_partition_gives_the_window() -> None:
    assert window_of(GRAPH, [WEEKS, EVENTS, FEED], WEDNESDAY) == (WEDNESDAY, date(2024, 1, 18))


def test_a_day_before_the_first_partition_is_refused() -> None:
    with pytest.raises(NotFoundError, match="has no partition for 2023-12-31"):
        partition_of(GRAPH, EVENTS, date(2023, 12, 31))


def test_a_check_inside_an_asset_can_not_run_alone() -> None:
    by_itself, bound = standalone_checks(GRAPH, "shop")
    assert ([key.name for key in by_itself], [key.name for key in bound]) == (["alone"], ["inside"])


def test_what_was_never_made_is_missing(history: History) -> None:
    assert state(history, EVENTS).state == "missing"


def test_another_day_does_not_make_this_one(history: History) -> None:
    run_day(history, date(2024, 1, 16))
    assert state(history, EVENTS).state == "missing"


def test_a_made_partition_names_its_run_and_rows(history: History) -> None:
    run_id = run_day(history, WEDNESDAY)
    found = state(history, EVENTS)
    assert (found.state, found.run_id, found.row_count) == ("done", run_id, 7)


def test_rows_of_a_range_are_not_those_of_a_day(history: History) -> None:
    run(history, "shop_days", **range_tags(date(2024, 1, 16), WEDNESDAY))
    found = state(history, EVENTS)
    assert (found.state, found.row_count) == ("done", None)


def test_a_failed_run_is_told(history: History) -> None:
    run_id = run_day(history, WEDNESDAY, fails="yes")
    found = state(history, EVENTS)
    assert (found.state, found.run_id) == ("failed", run_id)


def test_a_later_failure_is_told_beside_earlier_rows(history: History) -> None:
    run_day(history, WEDNESDAY)
    run_day(history, WEDNESDAY, fails="yes")
    assert state(history, EVENTS).state == "failed"


def test_a_repetition_that_succeeds_ends_a_failure(history: History) -> None:
    run_day(history, WEDNESDAY, fails="yes")
    run_day(history, WEDNESDAY)
    assert state(history, EVENTS).state == "done"


def test_a_run_of_another_day_hides_no_failed_check(history: History) -> None:
    run_day(history, WEDNESDAY, bad="yes")
    run_day(history, date(2024, 1, 18))
    assert state(history, EVENTS).count("fail") == 1


def test_what_was_not_measurable_is_no_failure(history: History) -> None:
    run(history, "shop_feed")
    found = state(history, FEED)
    assert (found.count("not measurable"), found.count("fail")) == (1, 0)


def test_a_range_is_one_run_of_its_asset(history: History) -> None:
    run_id = run(history, "shop_days", **range_tags(date(2024, 1, 2), WEDNESDAY))
    (found,) = history.runs(asset=EVENTS)
    assert (found.run_id, found.partitions) == (run_id, "2024-01-02 to 2024-01-17")


def test_runs_of_a_pipeline_are_limited_to_the_latest(history: History) -> None:
    ids = [run_day(history, date(2024, 1, day)) for day in (2, 3, 4)]
    assert [one.run_id for one in history.runs(pipeline="shop", limit=2)] == ids[:0:-1]
