"""How a pipeline's runs ended: which of them count, and which failures nothing made good."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from pipeline_platform.advisory_performance.automation import JOBS, WORKFLOW
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.orchestration.automation import ONE_PARTITION_TAG, range_tags
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.pipeline_runs import PipelineRuns, work_tags
from pipeline_platform.quality.measurements import judge, percentage

SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
DAILY = dg.DailyPartitionsDefinition(start_date=datetime(2024, 1, 1, tzinfo=UTC))
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
EVENTS, SUMS, FEED = (dg.AssetKey(["shop", "silver", name]) for name in ("events", "sums", "feed"))


def _work(context: dg.AssetExecutionContext) -> None:
    if context.asset_key.path[-1] in context.run.tags.get("fails", "").split():
        raise RuntimeError("It fails.")


def _asset(key: dg.AssetKey, deps: list[dg.AssetKey]) -> dg.AssetsDefinition:
    @dg.asset(
        key=key,
        deps=deps,
        partitions_def=None if key == FEED else DAILY,
        backfill_policy=None if key == FEED else dg.BackfillPolicy.single_run(),
    )
    def made(context: dg.AssetExecutionContext) -> None:
        _work(context)

    return made


@dg.op
def look(context: dg.OpExecutionContext) -> None:
    if "fails" in context.run.tags:
        raise RuntimeError("It fails.")


@dg.job(name="shop_health")
def health() -> None:
    look()


DEFINITIONS = dg.Definitions(
    assets=[_asset(EVENTS, []), _asset(SUMS, [EVENTS]), _asset(FEED, [])],
    jobs=[
        dg.define_asset_job("shop_days", selection=[EVENTS, SUMS], tags=work_tags("shop")),
        dg.define_asset_job("shop_feed", selection=[FEED], tags=work_tags("shop")),
        health,
    ],
    executor=dg.in_process_executor,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def runs_of(instance: dg.DagsterInstance, pipeline: str = "shop") -> PipelineRuns:
    return PipelineRuns(instance, pipeline, datetime.now(UTC) - timedelta(days=7))


def run(
    instance: dg.DagsterInstance,
    job: str,
    *,
    assets: list[dg.AssetKey] | None = None,
    **tags: str,
) -> str:
    result = DEFINITIONS.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config=QUIET,
        tags=tags,
        asset_selection=assets,
    )
    return result.run_id


def days(instance: dg.DagsterInstance, first: str, last: str, **tags: str) -> str:
    span = range_tags(datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date())
    return run(instance, "shop_days", **span, **tags)


def remember(
    instance: dg.DagsterInstance,
    job: str,
    status: dg.DagsterRunStatus,
    count: int,
    asset: dg.AssetKey | None = None,
) -> None:
    """Let an instance remember runs of a job of advisory_performance, with the job's own tags."""
    tags = next((one.tags for one in JOBS if one.name == job), {}) or {}
    for _ in range(count):
        ended = dg.DagsterRun(
            job_name=job,
            run_id=make_new_run_id(),
            status=status,
            tags=tags,
            asset_selection=frozenset([asset]) if asset else None,
        )
        instance.add_run(ended)


def success_rate(instance: dg.DagsterInstance) -> tuple[str, float | None]:
    ended = runs_of(instance, PIPELINE).ended()
    name = "pipeline_success_rate"
    found = percentage(name, sum(succeeded for _, succeeded in ended), len(ended))
    verdict = judge(found, load_runbook().thresholds[name])
    return verdict.outcome, verdict.value


def test_a_failing_workflow_is_not_hidden_by_two_thousand_health_checks(instance) -> None:
    remember(instance, f"{PIPELINE}_health", SUCCESS, 2000)
    remember(instance, WORKFLOW, SUCCESS, 19)
    remember(instance, WORKFLOW, FAILURE, 1)
    assert success_rate(instance) == ("fail", 95)


@pytest.mark.parametrize("job", ["health", "maintenance", "months_made_ahead"])
def test_a_job_that_takes_in_and_computes_nothing_does_not_count(instance, job) -> None:
    remember(instance, f"{PIPELINE}_{job}", FAILURE, 30)
    assert runs_of(instance, PIPELINE).ended() == []


def test_assets_made_from_the_asset_graph_count_for_their_pipeline(instance) -> None:
    ours = dg.AssetKey([PIPELINE, "gold", "reconciliation"])
    remember(instance, "__ASSET_JOB", FAILURE, 1, asset=ours)
    remember(instance, "__ASSET_JOB", FAILURE, 1, asset=EVENTS)
    assert [succeeded for _, succeeded in runs_of(instance, PIPELINE).ended()] == [False]


def test_a_run_that_somebody_stopped_is_neither_a_success_nor_a_failure(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-15", fails="events")
    instance.add_run_tags(failed, {STOPPED_TAG: "true"})
    assert (runs_of(instance).ended(), runs_of(instance).unmended()) == ([], [])


def test_a_stopped_run_does_not_hide_the_failure_before_it(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-15", fails="events")
    stopped = days(instance, "2024-01-15", "2024-01-15", fails="events")
    instance.add_run_tags(stopped, {STOPPED_TAG: "true"})
    assert runs_of(instance).unmended() == [failed]


def test_a_failed_run_of_the_asset_graph_is_a_failure_of_its_pipeline(instance) -> None:
    remember(instance, "__ASSET_JOB", FAILURE, 1, asset=EVENTS)
    remember(instance, "__ASSET_JOB", FAILURE, 1, asset=dg.AssetKey(["other", "events"]))
    assert len(runs_of(instance).unmended()) == 1


def test_another_job_s_success_does_not_make_a_failure_good(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-15", fails="events")
    run(instance, "shop_feed")
    run(instance, "shop_health")
    assert runs_of(instance).unmended() == [failed]


def test_another_day_s_success_does_not_make_a_failure_good(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-15", fails="events")
    days(instance, "2024-01-16", "2024-01-16")
    assert runs_of(instance).unmended() == [failed]


def test_a_wider_range_makes_a_failure_good(instance) -> None:
    days(instance, "2024-01-15", "2024-01-16", fails="sums")
    days(instance, "2024-01-14", "2024-01-17")
    assert runs_of(instance).unmended() == []


def test_a_part_of_the_range_does_not_make_a_failure_good(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-16", fails="events")
    days(instance, "2024-01-15", "2024-01-15")
    assert runs_of(instance).unmended() == [failed]


def test_what_is_made_from_the_asset_graph_makes_a_job_s_failure_good(instance) -> None:
    days(instance, "2024-01-15", "2024-01-15", fails="sums")
    run(instance, "__ASSET_JOB", assets=[SUMS], **{ONE_PARTITION_TAG: "2024-01-15"})
    assert runs_of(instance).unmended() == []


def test_what_a_run_made_before_it_failed_need_not_be_made_again(instance) -> None:
    failed = days(instance, "2024-01-15", "2024-01-15", fails="sums")
    run(instance, "__ASSET_JOB", assets=[EVENTS], **{ONE_PARTITION_TAG: "2024-01-15"})
    assert runs_of(instance).unmended() == [failed]


def test_a_failure_that_repeats_counts_once(instance) -> None:
    days(instance, "2024-01-15", "2024-01-15", fails="events")
    again = days(instance, "2024-01-15", "2024-01-15", fails="events")
    assert runs_of(instance).unmended() == [again]


def test_a_job_without_assets_is_made_good_by_its_own_success(instance) -> None:
    run(instance, "shop_health", fails="yes")
    failed = runs_of(instance).unmended()
    run(instance, "shop_health")
    assert (len(failed), runs_of(instance).unmended()) == (1, [])


def test_an_asset_without_partitions_is_made_good_when_it_is_made(instance) -> None:
    run(instance, "shop_feed", fails="feed")
    failed = runs_of(instance).unmended()
    run(instance, "shop_feed")
    assert (len(failed), runs_of(instance).unmended()) == (1, [])
