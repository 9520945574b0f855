"""Everything of readings that Dagster knows."""

from datetime import UTC, datetime
from functools import partial

import dagster as dg
from pipeline_platform.readings.ingestion import reading_files
from pipeline_platform.readings.processing import process_days
from pipeline_platform.readings.run_context import RunContext, load_runbook
from pipeline_platform.readings.tables import (
    PIPELINE,
    RAW_READINGS,
    READINGS,
    SERVED,
    TOTALS,
)

from pipeline_platform.orchestration.automation import WORKFLOW_TAG, schedules_from_runbook
from pipeline_platform.orchestration.compute import ComputeSize
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.landing import incoming_asset, ingest_asset
from pipeline_platform.orchestration.metadata import asset_key, table_spec
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.sensors import (
    RequestedRange,
    arrivals_sensor,
    requests_sensor,
)
from pipeline_platform.orchestration.threshold_checks import (
    Measured,
    check_keys,
    threshold_checks,
    thresholds_of,
)
from pipeline_platform.partition_ranges import ONE_DAY, day_range, stretches
from pipeline_platform.quality.measurements import percentage
from pipeline_platform.quality.measures import ALL, Labelled, Scope, measure
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.warehouse import control

WORKFLOW = f"{PIPELINE}_workflow"
DAILY = dg.DailyPartitionsDefinition(start_date=datetime(2020, 1, 1, tzinfo=UTC), end_offset=1)
SERVING = dg.AssetKey([PIPELINE, "serving", SERVED])

raw_readings = ingest_asset(RAW_READINGS, reading_files)


@dg.multi_asset(
    name=f"{PIPELINE}_days",
    specs=[
        table_spec(READINGS, deps=[asset_key(RAW_READINGS)]),
        table_spec(TOTALS, deps=[asset_key(READINGS)]),
        dg.AssetSpec(SERVING, deps=[asset_key(TOTALS)], group_name=PIPELINE),
    ],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def days(context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam):
    """Take the run's days from bronze to the served table."""
    window = context.partition_time_window
    run = RunContext(config.sized(services), context.run.run_id)
    with handled_failures(context):
        process_days(run, day_range(window.start.date(), window.end.date() - ONE_DAY))
    for key in (asset_key(READINGS), asset_key(TOTALS), SERVING):
        yield dg.MaterializeResult(asset_key=key)


def _error_rate(scope: Scope[RunContext]) -> Labelled:
    ((held, arrived),) = scope.rows(
        "SELECT coalesce(sum(quarantined), 0)::bigint, coalesce(sum(arrived), 0)::bigint"
        " FROM conservation_ledger WHERE pipeline = %(pipeline)s AND hop = 'landing_to_bronze'"
    )
    return {ALL: percentage("error_rate", held, arrived)}


def _measured(context: dg.AssetCheckExecutionContext, services: Services) -> Measured:
    scope = Scope(RunContext(services, context.run.run_id), ())
    return partial(measure, scope, measures={"error_rate": _error_rate})


LANDING = thresholds_of(load_runbook(), "landing", "bronze")
ingest_job = dg.define_asset_job(
    f"{PIPELINE}_ingest",
    selection=dg.AssetSelection.assets(raw_readings)
    | dg.AssetSelection.checks(*check_keys(LANDING)),
    tags=work_tags(PIPELINE),
)
workflow_job = dg.define_asset_job(
    WORKFLOW, selection=[days], tags={WORKFLOW_TAG: PIPELINE, **work_tags(PIPELINE)}
)


def requested_ranges(services: Services) -> list[RequestedRange]:
    """Return the ranges of consecutive days that wait; each becomes one run."""
    with services.database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)
    versions = {datetime.fromisoformat(key).date(): number for key, number in pending.items()}
    return [
        RequestedRange(found[0], found[-1], max(versions[day] for day in found))
        for found in stretches(versions)
    ]


def build_defs(environment: Environment) -> dg.Definitions:
    """Assemble the pipeline."""
    runbook = load_runbook()
    return dg.Definitions(
        assets=[incoming_asset(PIPELINE), raw_readings, days],
        asset_checks=[threshold_checks(runbook, "landing", LANDING, _measured)],
        jobs=[ingest_job, workflow_job],
        sensors=[
            arrivals_sensor(runbook, ingest_job, RAW_READINGS, environment),
            requests_sensor(
                runbook, "days", "days_to_process", workflow_job, requested_ranges, environment
            ),
        ],
        schedules=schedules_from_runbook(runbook, {"hourly_ingest": ingest_job}, environment),
    )
