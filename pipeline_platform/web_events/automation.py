"""When this pipeline runs: arrivals and the stream fill bronze, touched days start the workflow."""

from collections.abc import Sequence

import dagster as dg

from pipeline_platform.orchestration import streams
from pipeline_platform.orchestration.automation import (
    WORKFLOW_TAG,
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
)
from pipeline_platform.orchestration.landing import landing_key
from pipeline_platform.orchestration.maintenance import maintenance_job
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.orchestration.sensors import (
    RequestedRange,
    arrivals_sensor,
    requests_sensor,
)
from pipeline_platform.partition_ranges import stretches
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.web_events.assets import DAILY_KEYS, INGEST_KEYS
from pipeline_platform.web_events.checks import (
    DAILY_CHECK_KEYS,
    INGEST_CHECK_KEYS,
    QUERY_CHECK_KEYS,
    SERVICE_CHECK_KEYS,
)
from pipeline_platform.web_events.ingestion import event_files, events_stream
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.refinement import requested_days
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, TABLES

WORKFLOW = "web_events_s3_tables_pipeline"

ingest_job = dg.define_asset_job(
    f"{PIPELINE}_ingest",
    selection=dg.AssetSelection.assets(*INGEST_KEYS) | dg.AssetSelection.checks(*INGEST_CHECK_KEYS),
    description="Event files from the landing zone to bronze.",
    tags=work_tags(PIPELINE),
)
workflow_job = dg.define_asset_job(
    WORKFLOW,
    selection=dg.AssetSelection.assets(*DAILY_KEYS) | dg.AssetSelection.checks(*DAILY_CHECK_KEYS),
    description=(
        "A range of days from bronze to silver (SW-2); its step process_historical_data also does "
        "backfills (SW-12)."
    ),
    tags={WORKFLOW_TAG: PIPELINE, **work_tags(PIPELINE)},
)
health_job = dg.define_asset_job(
    f"{PIPELINE}_health",
    selection=dg.AssetSelection.assets(landing_key(PIPELINE))
    | dg.AssetSelection.checks(
        *SERVICE_CHECK_KEYS, *INGEST_CHECK_KEYS, *DAILY_CHECK_KEYS, *QUERY_CHECK_KEYS
    ),
    description="The morning review: what waits, and every check that needs no new data (SW-1).",
)
service_health_job = dg.define_asset_job(
    f"{PIPELINE}_service_health",
    selection=dg.AssetSelection.checks(*SERVICE_CHECK_KEYS, *INGEST_CHECK_KEYS),
    description="The cheap checks of the service: stream, lag, errors, failed runs (SW-3, SW-61).",
)
query_times_job = dg.define_asset_job(
    f"{PIPELINE}_query_times",
    selection=dg.AssetSelection.checks(*QUERY_CHECK_KEYS),
    description="How long the analysts' queries take (SW-22, SW-63).",
)


maintain_job = maintenance_job(PIPELINE, (*TABLES, *MARTS.tables), load_runbook)
stream_job = streams.stream_job(
    RAW_EVENTS, event_files, events_stream, load_runbook().rulings.stream
)

JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest_job,
    stream_job,
    workflow_job,
    health_job,
    service_health_job,
    query_times_job,
    maintain_job,
]


def requested_ranges(services: Services) -> list[RequestedRange]:
    """Return the ranges of consecutive days that wait; each becomes one run."""
    pending = requested_days(RunContext(services, "sensor"))
    return [
        RequestedRange(days[0], days[-1], max(pending[day] for day in days))
        for days in stretches(pending)
    ]


def sensors(environment: Environment) -> Sequence[dg.SensorDefinition]:
    """Return the sensors, on or off as the runbook says for this environment."""
    runbook = load_runbook()
    return [
        arrivals_sensor(runbook, ingest_job, RAW_EVENTS, environment),
        streams.stream_sensor(runbook, stream_job, events_stream, environment),
        requests_sensor(
            runbook, "dates", "dates_to_process", workflow_job, requested_ranges, environment
        ),
    ]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the runbook, on or off as it says for this environment."""
    jobs: dict[str, ExecutableDefinition] = {
        "morning_health_check": health_job,
        "service_health": service_health_job,
        "query_times": query_times_job,
        "weekly_maintenance": maintain_job,
    }
    return schedules_from_runbook(load_runbook(), jobs, environment)
