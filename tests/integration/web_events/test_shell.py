"""web_events as Dagster runs it: sensors, jobs, checks, and backfills beside each other."""

import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.automation import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    range_tags,
)
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.orchestration.metadata import asset_key
from pipeline_platform.services import Services
from pipeline_platform.warehouse.report_pages import kept_page
from pipeline_platform.web_events.assets import PROCESS_HISTORICAL_DATA
from pipeline_platform.web_events.automation import WORKFLOW
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS
from tests.assets.platform_runs import Platform, running
from tests.integration.web_events.event_files import (
    DAY,
    NOON,
    deliver,
    event,
    events,
    ingest,
    refine,
    run_of,
    silver,
)

ONE_DAY = timedelta(days=1)


@pytest.fixture
def platform(settings):
    with running(settings) as opened:
        yield opened


def tick(platform: Platform, sensor: str) -> object:
    context = dg.build_sensor_context(
        instance=platform.instance,
        definitions=platform.definitions,
        resources={"services": platform.services},
    )
    return platform.definitions.get_sensor_def(f"{PIPELINE}_{sensor}").evaluate_tick(context)


def ingested(platform: Platform) -> dg.ExecuteInProcessResult:
    return platform.run(f"{PIPELINE}_ingest", run_config=ingest_config(RAW_EVENTS, []))


def test_arrivals_start_an_ingest(platform) -> None:
    deliver(platform.services, "events_1.ndjson", events(2))
    (request,) = tick(platform, "arrivals").run_requests
    config = request.run_config["ops"][f"{PIPELINE}__bronze__raw_events"]["config"]
    assert config["keys"] == ["events_1.ndjson"]


def test_touched_days_start_one_run_for_each_stretch(platform) -> None:
    far = event("far", NOON - 30 * ONE_DAY)
    deliver(platform.services, "events_1.ndjson", events(2) + event("b", NOON - ONE_DAY) + far)
    ingested(platform)
    ranges = [
        (one.tags[RANGE_START_TAG], one.tags[RANGE_END_TAG])
        for one in tick(platform, "dates").run_requests
    ]
    assert ranges == [
        (str(DAY - 30 * ONE_DAY), str(DAY - 30 * ONE_DAY)),
        (str(DAY - ONE_DAY), str(DAY)),
    ]


def test_no_day_is_asked_for_twice(platform) -> None:
    deliver(platform.services, "events_1.ndjson", events(2))
    ingested(platform)
    platform.run(WORKFLOW, tags=range_tags(DAY, DAY))
    assert tick(platform, "dates").skip_message == "None of the dates has new rows."


def test_a_day_is_asked_for_until_its_marts_are_published(platform) -> None:
    deliver(platform.services, "events_1.ndjson", events(2))
    ingested(platform)
    silver_alone = platform.run(
        WORKFLOW, tags=range_tags(DAY, DAY), asset_selection=[asset_key(WEB_EVENTS)]
    )
    assert (silver_alone.success, len(tick(platform, "dates").run_requests)) == (True, 1)


def test_the_workflow_publishes_days_and_evaluates_their_checks(platform) -> None:
    deliver(platform.services, "events_1.ndjson", events(120) + event("e0"))
    ingested(platform)
    result = platform.run(WORKFLOW, tags=range_tags(DAY, DAY))
    materialized = result.asset_materializations_for_node(PROCESS_HISTORICAL_DATA)
    evaluated = {one.check_name for one in result.get_asset_check_evaluations()}
    assert result.success
    assert materialized[0].metadata["dagster/row_count"].value == 120
    assert materialized[0].metadata["duplicates"].value == 1
    assert {"conservation", "an_event_stands_once", "data_quality_score"} <= evaluated


def test_the_morning_review_evaluates_every_check_that_needs_no_new_data(platform) -> None:
    result = platform.run(f"{PIPELINE}_health")
    evaluated = {one.check_name for one in result.get_asset_check_evaluations()}
    expected = {
        one.check
        for one in load_runbook().thresholds.values()
        if not one.is_blocking
        and one.stage not in ("cost", "checks")  # judged by jobs of their own
    }
    assert evaluated == expected


def test_the_service_is_checked_every_five_minutes_by_what_reads_no_row(platform) -> None:
    schedule = platform.definitions.get_schedule_def(f"{PIPELINE}_service_health")
    result = platform.run(schedule.job_name)
    evaluated = {one.check_name for one in result.get_asset_check_evaluations()}
    wanted = {
        *("failed_runs", "error_rate", "processing_latency", "rows_of_today"),
        *("stream_silence", "stream_iterator_age", "stream_error_rate"),
    }
    assert schedule.cron_schedule == "*/5 * * * *"
    assert wanted <= evaluated
    assert evaluated.isdisjoint({"query_time", "slow_queries", "quality_trend", "hourly_volume"})


def test_queries_are_timed_every_hour(platform) -> None:
    schedule = platform.definitions.get_schedule_def(f"{PIPELINE}_query_times")
    result = platform.run(schedule.job_name)
    evaluated = {one.check_name for one in result.get_asset_check_evaluations()}
    assert (schedule.cron_schedule, evaluated) == ("20 * * * *", {"query_time", "slow_queries"})


def test_the_end_of_the_day_tells_how_much_came(platform) -> None:
    now = datetime.now(UTC)
    then = now - timedelta(minutes=5)
    content = events(4, then) + event("x", then, status_code=500, url=None) + b"nonsense\n"
    deliver(platform.services, "events_1.ndjson", content, arrived_at=now - timedelta(minutes=1))
    run = run_of(platform.services, now=now)
    ingest(run)
    refine(run, {now.date(), (now - timedelta(minutes=5)).date()})
    result = platform.run(f"{PIPELINE}_end_of_day")
    assert result.success
    with platform.services.database.connection() as connection:
        sections = kept_page(connection, PIPELINE, "end_of_day", None)["sections"]
    (hour,) = next(one["rows"] for one in sections if one["title"] == "Arrivals by hour")
    assert [hour[name] for name in ("arrived", "published", "rejected")] == [6, 5, 1]


def test_a_day_that_breaks_a_blocking_rule_stays_as_it_was(platform) -> None:
    deliver(platform.services, "events_1.ndjson", event("e"))
    ingested(platform)
    lake = platform.services.lake
    nothing = lake.stage(RAW_EVENTS, RAW_EVENTS.schema.empty_table(), run_id="x", partition="x")
    lake.publish(nothing, replace=f"event_date == '{DAY}'", properties={})
    result = platform.run(WORKFLOW, tags=range_tags(DAY, DAY))
    assert not result.success
    assert lake.partitions(WEB_EVENTS) == {}


def at_once(*works: object) -> list[BaseException]:
    """Run all at the same time, each in its thread; return what they raised."""
    raised: list[BaseException] = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return raised


def test_overlapping_backfills_at_the_same_time_both_succeed(settings) -> None:
    days = [DAY - 2 * ONE_DAY, DAY - ONE_DAY, DAY]
    with Services(settings) as services:
        content = b"".join(
            events(50, NOON - back * ONE_DAY, prefix=f"{back}-") for back in range(3)
        )
        deliver(services, "events_1.ndjson", content)
        ingest(run_of(services))
        counts: list[int] = []
        raised = at_once(
            lambda: refine(run_of(services, "one"), days[:2]),
            lambda: refine(run_of(services, "two"), days[1:]),
            lambda: refine(run_of(services, "three"), days),
            lambda: counts.extend(len(silver(services, "event_id")) for _ in range(20)),
        )
        assert raised == []
        assert len(silver(services, "event_id")) == 150
        assert set(counts) <= {0, 50, 100, 150}


def test_snapshots_of_every_table_are_forgotten_each_night(platform) -> None:
    deliver(platform.services, "events_1.ndjson", events(2))
    ingest(run_of(platform.services))
    run = platform.run("operations_retention")
    (output,) = [one for one in run.all_events if one.event_type_value == "STEP_OUTPUT"]
    places = str(output.step_output_data.metadata["places"].value)
    assert f"| {PIPELINE}: snapshots of bronze/raw_events |" in places


@pytest.mark.parametrize(
    ("name", "cron"), [("morning_health_check", "0 9 * * *"), ("end_of_day", "0 18 * * *")]
)
def test_schedules_are_those_of_the_runbook(settings, name, cron) -> None:
    found = {one.name: one for one in build_defs(settings).schedules}
    assert found[f"{PIPELINE}_{name}"].cron_schedule == cron


def test_the_first_sunday_s_review_is_over_before_the_weekly_maintenance() -> None:
    runbook = load_runbook()
    review, maintenance = runbook.reports.pages["monthly_review"], "weekly_maintenance"
    assert (review.cron, runbook.schedules[maintenance].cron) == (
        "0 1 * * 0#1",
        "0 2 * * 0",
    )
