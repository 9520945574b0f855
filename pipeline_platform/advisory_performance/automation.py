"""When this pipeline runs: arrivals start an ingest, touched months start the workflow."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from pipeline_platform.advisory_performance.assets import (
    INGEST_KEYS,
    MONTHLY_KEYS,
    RECONCILE_KEYS,
)
from pipeline_platform.advisory_performance.checks import (
    INGEST_CHECK_KEYS,
    MONTH_CHECK_KEYS,
    SERVICE_CHECK_KEYS,
)
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    TABLES,
    TIME_WEIGHTED_RETURNS,
    VENDOR_ROWS,
)
from pipeline_platform.orchestration.automation import (
    WORKFLOW_TAG,
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
)
from pipeline_platform.orchestration.landing import landing_key
from pipeline_platform.orchestration.maintenance import maintenance_job
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.sensors import (
    RequestedRange,
    arrivals_sensor,
    requests_sensor,
)
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.partitions import premake_months

WORKFLOW = "advisory_performance_etl_workflow"

ingest_job = dg.define_asset_job(
    f"{PIPELINE}_ingest",
    selection=dg.AssetSelection.assets(*INGEST_KEYS) | dg.AssetSelection.checks(*INGEST_CHECK_KEYS),
    description="Vendor files from the landing zone to bronze.",
    tags=work_tags(PIPELINE),
)
workflow_job = dg.define_asset_job(
    WORKFLOW,
    selection=dg.AssetSelection.assets(*MONTHLY_KEYS),
    description="A range of months from bronze to reconciled performance_data and gold marts.",
    tags={
        "runbook_name": "advisory-performance-etl-workflow",
        WORKFLOW_TAG: PIPELINE,
        **work_tags(PIPELINE),
    },
)
reconcile_job = dg.define_asset_job(
    f"{PIPELINE}_reconcile",
    selection=dg.AssetSelection.assets(*RECONCILE_KEYS),
    description="Rule anew on months under changed tolerances, without loading anything (SA-63).",
    tags=work_tags(PIPELINE),
)
health_job = dg.define_asset_job(
    f"{PIPELINE}_health",
    selection=dg.AssetSelection.assets(landing_key(PIPELINE))
    | dg.AssetSelection.checks(*SERVICE_CHECK_KEYS, *INGEST_CHECK_KEYS, *MONTH_CHECK_KEYS),
    description="The morning review: what waits, and every check that needs no new data (SA-28).",
)
service_health_job = dg.define_asset_job(
    f"{PIPELINE}_service_health",
    selection=dg.AssetSelection.assets(landing_key(PIPELINE))
    | dg.AssetSelection.checks(*SERVICE_CHECK_KEYS, *INGEST_CHECK_KEYS),
    description="What waits, and the checks of the service, which need no rows.",
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


maintain_job = maintenance_job(PIPELINE, TABLES, load_runbook, served=["performance_data"])

JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest_job,
    workflow_job,
    reconcile_job,
    health_job,
    service_health_job,
    months_made_ahead_job,
    maintain_job,
]


def months_to_process(services: Services) -> tuple[Mapping[str, int], date, date] | None:
    """Return the requested months and the range to run: later months link from earlier ones."""
    with services.database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)
    if not pending:
        return None
    requested = sorted(date.fromisoformat(key) for key in pending)
    present = dates_in(services.lake.partitions(TIME_WEIGHTED_RETURNS))
    return pending, requested[0], max([*requested, *present])


def requested_range(services: Services) -> list[RequestedRange]:
    """Return the one range of months that waits for a run, if any does."""
    work = months_to_process(services)
    if work is None:
        return []
    pending, first, last = work
    return [RequestedRange(first, last, max(pending.values()))]


def sensors(environment: Environment) -> Sequence[dg.SensorDefinition]:
    """Return the two sensors, on or off as the runbook says for this environment."""
    runbook = load_runbook()
    return [
        arrivals_sensor(runbook, ingest_job, VENDOR_ROWS, environment),
        requests_sensor(
            runbook, "months", "months_to_process", workflow_job, requested_range, environment
        ),
    ]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the runbook, on or off as it says for this environment."""
    jobs: dict[str, ExecutableDefinition] = {
        "morning_health_check": health_job,
        "service_health": service_health_job,
        "vendor_quiet": service_health_job,
        "months_made_ahead": months_made_ahead_job,
        "maintenance": maintain_job,
    }
    return schedules_from_runbook(load_runbook(), jobs, environment)
