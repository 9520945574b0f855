"""The two sensors of every pipeline: arrivals start an ingest, touched partitions the workflow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.arrivals import arrival_batches
from pipeline_platform.orchestration.automation import (
    UnresolvedAssetJobDefinition,
    range_tags,
    sensor_from_runbook,
)
from pipeline_platform.orchestration.compute import memory_for
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment

ATTEMPTS = 4
FIRST_WAIT = timedelta(minutes=5)
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class RequestedRange:
    """Partitions for one run, first to last; `version` is the newest request among them."""

    first: date
    last: date
    version: int

    @property
    def name(self) -> str:
        """What tells this request from every other one."""
        return f"{self.first}_{self.last}_{self.version}"


def request_tag(pipeline: str) -> str:
    """Return the run tag that names the request which a run answers."""
    return f"{pipeline}/request"


def arrivals_sensor(
    runbook: Runbook,
    job: UnresolvedAssetJobDefinition,
    table: LakeTable,
    environment: Environment,
) -> dg.SensorDefinition:
    """Return the sensor `arrivals` of the runbook: one ingest into `table` per batch of objects.

    The run key comes from the objects' content, so that the same batch starts one run only.
    """

    @sensor_from_runbook(runbook, "arrivals", job, environment)
    def arrivals(
        context: dg.SensorEvaluationContext, services: ServicesParam
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        active = dg.RunsFilter(job_name=job.name, statuses=UNFINISHED)
        batches, cursor = arrival_batches(
            services,
            runbook.pipeline,
            context.cursor,
            runbook.rulings.arrivals,
            now=utc_now(),
            is_idle=context.instance.get_runs_count(active) == 0,
        )
        for run_key, batch in batches:
            yield dg.RunRequest(
                run_key=run_key,
                run_config=ingest_config(
                    table, batch.keys, memory_for(batch.size_bytes, services.settings)
                ),
                tags={"files": str(len(batch.keys))},
            )
        if not batches:
            yield dg.SkipReason("Nothing new in incoming/.")
        context.update_cursor(cursor)

    return arrivals


def requests_sensor(
    runbook: Runbook,
    name: str,
    setting: str,
    job: UnresolvedAssetJobDefinition,
    requested: Callable[[Services], Sequence[RequestedRange]],
    environment: Environment,
) -> dg.SensorDefinition:
    """Return the sensor that starts the workflow over requested partitions.

    `name` is the sensor's beside its pipeline's (such as `months`), `setting` its key in the
    runbook, `requested` says which ranges wait. One request is in work at a time, and one that
    failed is repeated a few times with growing waits.
    """

    @sensor_from_runbook(runbook, setting, job, environment, name=name)
    def requests(
        context: dg.SensorEvaluationContext, services: ServicesParam
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ranges = requested(services)
        active = dg.RunsFilter(job_name=job.name, statuses=UNFINISHED)
        if not ranges:
            yield dg.SkipReason(f"None of the {name} has new rows.")
            return
        if context.instance.get_runs_count(active):
            yield dg.SkipReason(f"The workflow is still running; new {name} wait for its end.")
            return
        answers = [_request(context.instance, runbook.pipeline, one) for one in ranges]
        started = [one for one in answers if isinstance(one, dg.RunRequest)]
        yield from started or answers[:1]

    return requests


def _request(
    instance: dg.DagsterInstance, pipeline: str, wanted: RequestedRange
) -> dg.RunRequest | dg.SkipReason:
    attempt, wait = _next_attempt(instance, request_tag(pipeline), wanted.name)
    if wait:
        return dg.SkipReason(f"The last run over {wanted.first} to {wanted.last} failed; {wait}.")
    return dg.RunRequest(
        run_key=f"{wanted.name}_{attempt}" if attempt else wanted.name,
        tags={**range_tags(wanted.first, wanted.last), request_tag(pipeline): wanted.name},
    )


def _next_attempt(instance: dg.DagsterInstance, tag: str, request: str) -> tuple[int, str]:
    """Return how often this request was tried, and why it must not be tried now (or '').

    A request is repeated a few times with growing waits, for a cause that passes by itself. After
    that it waits for somebody, or for the next file that touches its partitions. A run that ended
    because the pipeline was stopped is no attempt: the request goes on at once.
    """
    runs = instance.get_run_records(dg.RunsFilter(tags={tag: request}))
    tried = [run for run in runs if STOPPED_TAG not in run.dagster_run.tags]
    if not tried:
        return len(runs), ""
    if len(tried) >= ATTEMPTS:
        return len(runs), "see its error, then re-execute it or process it by hand"
    ended = datetime.fromtimestamp(tried[0].end_time or 0, UTC)
    next_at = ended + FIRST_WAIT * 2 ** (len(tried) - 1)
    if utc_now() < next_at:
        return len(runs), f"it is tried again at {next_at:%H:%M} UTC"
    return len(runs), ""
