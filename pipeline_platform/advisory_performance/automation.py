"""When this pipeline runs: arrivals start an ingest, touched months start the workflow."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from pipeline_platform.advisory_performance.assets import (
    INGEST_KEYS,
    MONTHLY_KEYS,
    RECONCILE_KEYS,
    ServicesParam,
)
from pipeline_platform.advisory_performance.checks import INGEST_CHECK_KEYS, SERVICE_CHECK_KEYS
from pipeline_platform.advisory_performance.months import months_in, partition_key
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import PIPELINE, TIME_WEIGHTED_RETURNS
from pipeline_platform.orchestration.arrivals import arrival_batches
from pipeline_platform.orchestration.automation import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedule_from_runbook,
    sensor_status,
)
from pipeline_platform.orchestration.compute import memory_for
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.partitions import premake_months

WORKFLOW = "advisory_performance_etl_workflow"
REQUEST_TAG = "advisory_performance/request"
ATTEMPTS = 4
FIRST_WAIT = timedelta(minutes=5)
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

ingest_job = dg.define_asset_job(
    f"{PIPELINE}_ingest",
    selection=dg.AssetSelection.assets(*INGEST_KEYS) | dg.AssetSelection.checks(*INGEST_CHECK_KEYS),
    description="Vendor files from the landing zone to bronze.",
)
workflow_job = dg.define_asset_job(
    WORKFLOW,
    selection=dg.AssetSelection.assets(*MONTHLY_KEYS),
    description="A range of months from bronze to reconciled performance_data and gold marts.",
    tags={"runbook_name": "advisory-performance-etl-workflow"},
)
reconcile_job = dg.define_asset_job(
    f"{PIPELINE}_reconcile",
    selection=dg.AssetSelection.assets(*RECONCILE_KEYS),
    description="Rule anew on months under changed tolerances, without loading anything (SA-63).",
)
health_job = dg.define_asset_job(
    f"{PIPELINE}_health",
    selection=dg.AssetSelection.all_asset_checks()
    & dg.AssetSelection.checks(*SERVICE_CHECK_KEYS, *INGEST_CHECK_KEYS),
    description="The morning review: every check that needs no new data.",
)


@dg.op(description="Create this month's and the next partitions of performance_data (SA-35).")
def make_months_ahead(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Create the partitions of the coming months; those that exist are left alone."""
    count = load_runbook().rulings.premake_months
    with services.database.transaction() as connection:
        made = premake_months(connection, "performance_data", utc_now().date(), count)
    context.log.info(f"Partitions present up to {count} months ahead; made now: {made or 'none'}.")


@dg.job(name=f"{PIPELINE}_months_made_ahead")
def months_made_ahead_job() -> None:
    """Keep monthly partitions ahead of the calendar."""
    make_months_ahead()


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest_job,
    workflow_job,
    reconcile_job,
    health_job,
    months_made_ahead_job,
]


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the run tags that make one run cover a range of months."""
    return {
        RANGE_START_TAG: partition_key(first),
        RANGE_END_TAG: partition_key(last),
    }


def months_to_process(services: Services) -> tuple[Mapping[str, int], date, date] | None:
    """Return the requested months and the range to run: later months link from earlier ones."""
    with services.database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)
    if not pending:
        return None
    requested = sorted(date.fromisoformat(key) for key in pending)
    present = months_in(services.lake.partitions(TIME_WEIGHTED_RETURNS))
    return pending, requested[0], max([*requested, *present])


def sensors(environment: Environment) -> Sequence[dg.SensorDefinition]:
    """Return the two sensors, on or off as the runbook says for this environment."""
    runbook = load_runbook()

    @dg.sensor(
        name=f"{PIPELINE}_arrivals",
        job=ingest_job,
        minimum_interval_seconds=runbook.sensors["arrivals"].interval_seconds,
        default_status=sensor_status(runbook, "arrivals", environment),
        description=runbook.sensors["arrivals"].title,
    )
    def arrivals(
        context: dg.SensorEvaluationContext, services: ServicesParam
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Request one ingest per batch of new objects; the run key comes from their content."""
        active = dg.RunsFilter(job_name=ingest_job.name, statuses=UNFINISHED)
        batches, cursor = arrival_batches(
            services,
            PIPELINE,
            context.cursor,
            runbook.rulings.arrivals,
            now=utc_now(),
            is_idle=context.instance.get_runs_count(active) == 0,
        )
        for run_key, batch in batches:
            yield dg.RunRequest(
                run_key=run_key,
                run_config=ingest_config(list(batch.keys), memory_for(batch.size_bytes)),
                tags={"files": str(len(batch.keys))},
            )
        if not batches:
            yield dg.SkipReason("Nothing new in incoming/.")
        context.update_cursor(cursor)

    @dg.sensor(
        name=f"{PIPELINE}_months",
        job=workflow_job,
        minimum_interval_seconds=runbook.sensors["months_to_process"].interval_seconds,
        default_status=sensor_status(runbook, "months_to_process", environment),
        description=runbook.sensors["months_to_process"].title,
    )
    def months(
        context: dg.SensorEvaluationContext, services: ServicesParam
    ) -> dg.RunRequest | dg.SkipReason:
        """Request one run over all months from the first touched one to the latest."""
        work = months_to_process(services)
        if work is None:
            return dg.SkipReason("No month has new rows.")
        active = dg.RunsFilter(job_name=WORKFLOW, statuses=UNFINISHED)
        if context.instance.get_runs_count(active):
            return dg.SkipReason("The workflow is still running; new months wait for its end.")
        pending, first, last = work
        request = f"{first}_{last}_{max(pending.values())}"
        attempt, wait = _next_attempt(context.instance, request)
        if wait:
            return dg.SkipReason(f"The last run over {first} to {last} failed; {wait}.")
        return dg.RunRequest(
            run_key=f"{request}_{attempt}" if attempt else request,
            tags={**range_tags(first, last), REQUEST_TAG: request},
        )

    return [arrivals, months]


def _next_attempt(instance: dg.DagsterInstance, request: str) -> tuple[int, str]:
    """Return how often this request was tried, and why it must not be tried now (or '').

    A request is repeated a few times with growing waits, for a cause that passes by itself. After
    that it waits for somebody, or for the next file that touches its months.
    """
    runs = instance.get_run_records(dg.RunsFilter(tags={REQUEST_TAG: request}), limit=ATTEMPTS)
    if not runs:
        return 0, ""
    if len(runs) >= ATTEMPTS:
        return len(runs), "see its error, then re-execute it or run `months process`"
    ended = datetime.fromtimestamp(runs[0].end_time or 0, UTC)
    next_at = ended + FIRST_WAIT * 2 ** (len(runs) - 1)
    if utc_now() < next_at:
        return len(runs), f"it is tried again at {next_at:%H:%M} UTC"
    return len(runs), ""


def ingest_config(keys: list[str], memory_limit: str | None = None) -> dict[str, object]:
    """Return the run configuration that makes an ingest take exactly these objects."""
    config: dict[str, object] = {"keys": keys}
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    return {"ops": {"__".join([PIPELINE, "bronze", "vendor_rows"]): {"config": config}}}


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the runbook, on or off as it says for this environment."""
    runbook = load_runbook()
    jobs: dict[str, ExecutableDefinition] = {
        "morning_health_check": health_job,
        "service_health": health_job,
        "vendor_quiet": health_job,
        "months_made_ahead": months_made_ahead_job,
    }
    return [
        schedule_from_runbook(runbook, name, jobs[name], environment) for name in runbook.schedules
    ]
