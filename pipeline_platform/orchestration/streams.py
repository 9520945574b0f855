"""A stream's job and sensor: batches to bronze while one is configured, nothing otherwise."""

from collections.abc import Callable

import dagster as dg

from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.ingestion.stream_batches import BatchOutcome, consume
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.automation import sensor_from_runbook
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.metadata import asset_key
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.sensors import UNFINISHED
from pipeline_platform.runbook import Runbook, StreamReading
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment, Settings
from pipeline_platform.streams.kinesis import KinesisReader

StreamOf = Callable[[Settings], str | None]
"""Says which stream a pipeline reads under these settings; None = none is configured."""


def stream_job(
    table: LakeTable,
    intake_of: Callable[[Services, str], Intake],
    stream_of: StreamOf,
    reading: StreamReading,
) -> dg.JobDefinition:
    """Return the job `<pipeline>_stream`, which takes a Kinesis stream to a bronze table.

    Each run goes on until the stream is caught up or `reading.max_batches` are done. `intake_of`
    gets services and run id, as for files.
    """

    @dg.op(
        name=f"{table.pipeline}_read_stream",
        description="Read batches of the stream and publish each with its positions.",
        tags={"layer": table.layer},
    )
    def read_stream(context: dg.OpExecutionContext, services: ServicesParam) -> None:
        stream = stream_of(services.settings)
        if stream is None:
            context.log.info("No stream is configured; there is nothing to read.")
            return
        outcomes: list[BatchOutcome] = []
        with handled_failures(context):
            reader = KinesisReader(services.settings, stream, start=reading.start)
            intake = intake_of(services, context.run_id)
            for outcome in consume(intake, reader, reading.limits, max_batches=reading.max_batches):
                context.log.info(
                    f"{outcome.records} records of {stream}, then "
                    f"{outcome.millis_behind_latest} ms behind its newest"
                )
                outcomes.append(outcome)
        if outcomes:
            context.log_event(_materialization(table, stream, outcomes))

    @dg.job(
        name=f"{table.pipeline}_stream",
        description=f"The stream of {table.pipeline} to {table.name}, batch by batch.",
        tags=work_tags(table.pipeline),
    )
    def job() -> None:
        read_stream()

    return job


def stream_sensor(
    runbook: Runbook, job: dg.JobDefinition, stream_of: StreamOf, environment: Environment
) -> dg.SensorDefinition:
    """Return the sensor `stream` of the runbook: one run of the job at a time, again and again."""

    @sensor_from_runbook(runbook, "stream", job, environment)
    def stream(
        context: dg.SensorEvaluationContext, services: ServicesParam
    ) -> dg.RunRequest | dg.SkipReason:
        name = stream_of(services.settings)
        if name is None:
            return dg.SkipReason("No stream is configured.")
        active = dg.RunsFilter(job_name=job.name, statuses=UNFINISHED)
        if context.instance.get_runs_count(active):
            return dg.SkipReason(f"The stream {name} is being read.")
        return dg.RunRequest(tags={"stream": name})

    return stream


def _materialization(
    table: LakeTable, stream: str, outcomes: list[BatchOutcome]
) -> dg.AssetMaterialization:
    files = [file for outcome in outcomes for file in outcome.files]
    return dg.AssetMaterialization(
        asset_key=asset_key(table),
        metadata={
            "dagster/row_count": sum(file.published_rows for file in files),
            "stream": stream,
            "batches": len(outcomes),
            "records": sum(outcome.records for outcome in outcomes),
            "quarantined_rows": sum(file.quarantined_rows for file in files),
            "millis_behind_latest": outcomes[-1].millis_behind_latest,
            "partitions": sorted({key for file in files for key in file.partitions}),
        },
    )
