"""When runs start: for every arrival once, for months from the first touched one on."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_platform.advisory_performance.automation import WORKFLOW
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.automation import RANGE_END_TAG, RANGE_START_TAG
from pipeline_platform.orchestration.pipeline_runs import ENDED, WORK_TAG
from pipeline_platform.orchestration.sensors import UNFINISHED
from pipeline_platform.partition_ranges import shifted
from pipeline_platform.run_context import utc_now
from tests.assets.platform_runs import ARRIVED, deliver, running

ENVIRONMENTS = ("local", "test", "staging", "production")
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)


@pytest.fixture
def platform(settings):
    with running(settings) as opened:
        yield opened


def keys_of(tick) -> list[list[str]]:
    return [one.run_config["ops"][f"{PIPELINE}__bronze__vendor_rows"]["config"]["keys"]
            for one in tick.run_requests]  # fmt: skip


def evaluated(result: dg.ExecuteInProcessResult) -> set[str]:
    return {one.check_name for one in result.get_asset_check_evaluations()}


def ingest(platform, *days: str, name: str = "standard_1.csv") -> None:
    """Take a file with a value of one account on each of these days to bronze."""
    rows = "".join(f"A1,{day},1000.00,,,,,USD\n" for day in days)
    deliver(platform.settings, name, (HEADER + rows).encode())
    list(ingest_arrivals(RunContext(platform.services, "ingest")))


def test_arrivals_are_requested_together(platform) -> None:
    for name in ("standard_1.csv", "standard_2.csv"):
        deliver(platform.settings, name, b"x")
    assert keys_of(platform.tick("arrivals")) == [["standard_1.csv", "standard_2.csv"]]


def test_what_was_requested_is_not_requested_again(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    first = platform.tick("arrivals")
    second = platform.tick("arrivals", first.cursor)
    assert (second.run_requests, second.skip_message) == ([], "Nothing new in incoming/.")


def test_an_overwritten_object_is_requested_again(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    first = platform.tick("arrivals")
    deliver(platform.settings, "standard_1.csv", b"yy", arrived_at=ARRIVED + timedelta(hours=1))
    assert keys_of(platform.tick("arrivals", first.cursor)) == [["standard_1.csv"]]


def test_an_object_overwritten_within_the_same_instant_is_requested_again(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    first = platform.tick("arrivals")
    deliver(platform.settings, "standard_1.csv", b"yy")
    assert keys_of(platform.tick("arrivals", first.cursor)) == [["standard_1.csv"]]


def test_a_request_for_other_content_has_another_run_key(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    first = platform.tick("arrivals")
    deliver(platform.settings, "standard_1.csv", b"yy", arrived_at=ARRIVED + timedelta(hours=1))
    second = platform.tick("arrivals", first.cursor)
    assert first.run_requests[0].run_key != second.run_requests[0].run_key


def test_the_same_listing_asks_with_the_same_run_key(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    keys = {platform.tick("arrivals").run_requests[0].run_key for _ in range(2)}
    assert len(keys) == 1


def test_many_arrivals_come_in_bounded_batches(platform) -> None:
    limit = load_runbook().rulings.arrivals.max_files
    for number in range(limit + 1):
        deliver(platform.settings, f"standard_{number}.csv", b"x")
    assert [len(keys) for keys in keys_of(platform.tick("arrivals"))] == [limit, 1]


def test_an_object_that_is_older_than_the_cursor_is_not_missed(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    first = platform.tick("arrivals")
    deliver(platform.settings, "standard_0.csv", b"y", arrived_at=ARRIVED)
    assert keys_of(platform.tick("arrivals", first.cursor)) == [["standard_0.csv"]]


def test_the_cursor_of_arrivals_is_readable(platform) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    assert "listing" in json.loads(platform.tick("arrivals").cursor)


def test_the_job_of_months_ahead_makes_this_month_and_the_next_ones(platform) -> None:
    wanted = [this_month_and(number) for number in range(load_runbook().rulings.premake_months + 1)]

    assert platform.run(f"{PIPELINE}_months_made_ahead").success

    assert partitions_of_performance_data(platform) == wanted


def test_the_job_of_months_ahead_leaves_alone_what_exists(platform) -> None:
    platform.run(f"{PIPELINE}_months_made_ahead")
    before = partitions_of_performance_data(platform)

    assert platform.run(f"{PIPELINE}_months_made_ahead").success

    assert partitions_of_performance_data(platform) == before


def this_month_and(number: int) -> str:
    """Name the partition of the month so many months from now."""
    return f"performance_data_{shifted(utc_now().date().replace(day=1), number):%Y_%m}"


def partitions_of_performance_data(platform) -> list[str]:
    with platform.services.database.connection() as connection:
        found = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'performance_data'::regclass ORDER BY 1"
        )
        return [name for (name,) in found.fetchall()]


def test_without_touched_months_nothing_is_requested(platform) -> None:
    tick = platform.tick("months")
    assert (tick.run_requests, tick.skip_message) == ([], "None of the months has new rows.")


def test_touched_months_are_requested_as_one_range(platform) -> None:
    ingest(platform, "2024-10-31", "2024-08-30")
    tags = platform.tick("months").run_requests[0].tags
    assert (tags[RANGE_START_TAG], tags[RANGE_END_TAG]) == ("2024-08-01", "2024-10-01")


def test_while_the_workflow_runs_no_month_is_requested(platform) -> None:
    ingest(platform, "2024-10-31")
    job = platform.definitions.resolve_job_def(WORKFLOW)
    skipped = set()
    for status in UNFINISHED[1:]:  # a queued run can't be made without a code server
        with dg.DagsterInstance.ephemeral() as instance:
            instance.create_run_for_job(job, status=status)
            skipped.add(replace(platform, instance=instance).tick("months").skip_message)
    assert skipped == {"The workflow is still running; new months wait for its end."}


def test_every_status_of_a_run_is_either_ended_or_unfinished() -> None:
    never_ours = {dg.DagsterRunStatus.MANAGED, dg.DagsterRunStatus.SUSPENDED}
    assert ENDED | set(UNFINISHED) | never_ours == set(dg.DagsterRunStatus)


def test_the_morning_review_evaluates_every_check_that_needs_no_new_data(platform) -> None:
    assert evaluated(platform.run(f"{PIPELINE}_health")) == {
        one.check
        for one in load_runbook().thresholds.values()
        if not one.is_blocking
        and one.stage not in ("cost", "checks")  # judged by jobs of their own
    }


def test_late_files_and_missing_months_are_looked_for_when_nothing_else_runs(platform) -> None:
    schedule = platform.definitions.get_schedule_def(f"{PIPELINE}_service_health")
    found = evaluated(platform.run(schedule.job_name))
    assert {"processing_latency", "last_closed_month", "pipeline_success_rate"} <= found


def test_every_job_that_makes_assets_is_marked_as_work_and_no_other(settings) -> None:
    """A job without the mark would not count among the runs of its pipeline (SA-12)."""
    definitions = build_defs(settings)
    graph = definitions.resolve_asset_graph()
    found = {job.name: job for job in definitions.resolve_all_job_defs()}
    making = {
        job.name: key.path[0]
        for job in found.values()
        if not job.name.startswith("__")
        for key in job.asset_layer.asset_graph.get_all_asset_keys()
        & job.asset_layer.selected_asset_keys
        if graph.get(key).is_materializable and key.path[0] != "operations"  # no pipeline's work
    }
    marked = {name: job.tags[WORK_TAG] for name, job in found.items() if WORK_TAG in job.tags}
    assert marked == {**making, "web_events_stream": "web_events"}


def test_once_the_workflow_has_ended_months_are_requested(platform) -> None:
    ingest(platform, "2024-10-31")
    job = platform.definitions.resolve_job_def(WORKFLOW)
    platform.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    assert len(platform.tick("months").run_requests) == 1


def test_a_later_delivery_of_the_same_month_is_requested_anew(platform) -> None:
    ingest(platform, "2024-10-30")
    first = platform.tick("months").run_requests[0]
    ingest(platform, "2024-10-31", name="standard_2.csv")
    assert platform.tick("months").run_requests[0].run_key != first.run_key


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_schedules_and_sensors_run_where_the_runbook_says(environment, settings) -> None:
    definitions = build_defs(settings.model_copy(update={"environment": environment}))
    runbook = load_runbook()
    listed = {
        **{f"{PIPELINE}_{name}": one for name, one in runbook.schedules.items()},
        **{f"{PIPELINE}_{name}": one for name, one in runbook.reports.pages.items()},
        f"{PIPELINE}_mutations": runbook.mutations,
        f"{PIPELINE}_arrivals": runbook.sensors["arrivals"],
        f"{PIPELINE}_months": runbook.sensors["months_to_process"],
    }
    found = [
        one
        for one in (*definitions.schedules, *definitions.sensors)
        if one.name.startswith(PIPELINE)
    ]
    running_now = {one.name for one in found if one.default_status.value == "RUNNING"}
    expected = {
        name for name, one in listed.items() if one.environments.get(environment) == "running"
    }
    assert running_now == expected


def test_every_schedule_of_the_runbook_exists_with_its_cron_and_zone(settings) -> None:
    found = {one.name: (one.cron_schedule, one.execution_timezone)
             for one in build_defs(settings).schedules
             if one.name.startswith(PIPELINE)}  # fmt: skip
    runbook = load_runbook()
    expected = {f"{PIPELINE}_{name}": (one.cron, one.timezone)
                for of_it in (
                    runbook.schedules,
                    runbook.reports.pages,
                    {"mutations": runbook.mutations},
                )
                for name, one in of_it.items()}  # fmt: skip
    assert found == expected


def test_schedules_request_a_run_at_their_time(platform) -> None:
    schedule = platform.definitions.get_schedule_def(f"{PIPELINE}_morning_health_check")
    context = dg.build_schedule_context(
        instance=platform.instance,
        resources={"services": platform.services},
        scheduled_execution_time=datetime(2024, 11, 1, 9, tzinfo=UTC),
    )
    assert len(schedule.evaluate_tick(context).run_requests) == 1
