"""Schedules, sensors and freshness policies from a runbook, on or off by environment.

There is no default: what the runbook doesn't list for an environment is stopped there, so a
laptop never starts production's work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import dagster as dg
from dagster._core.definitions.target import ExecutableDefinition
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._utils.schedules import get_latest_completed_cron_tick

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.partition_ranges import partition_key
from pipeline_platform.runbook import Freshness, Runbook, Schedule, Sensor
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.warehouse.stops import register_pipelines, stop_of

__all__ = [
    "ONE_PARTITION_TAG",
    "RANGE_END_TAG",
    "RANGE_START_TAG",
    "WORKFLOW_TAG",
    "ExecutableDefinition",
    "UnresolvedAssetJobDefinition",
    "earliest_in_time",
    "freshness_policies",
    "freshness_policy",
    "range_tags",
    "schedules_from_runbook",
    "sensor_from_runbook",
]

ONE_PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
"""Tags by which Dagster itself says which partitions a run covers."""

WORKFLOW_TAG = "pipeline_platform/workflow"
"""On the one job of a pipeline that takes a range of its partitions through all layers."""


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the run tags that make one run cover a range of partitions."""
    return {RANGE_START_TAG: partition_key(first), RANGE_END_TAG: partition_key(last)}


class Scheduled(Protocol):
    """What declares schedules: a pipeline's runbook, or the platform's own plan."""

    @property
    def pipeline(self) -> str:
        """The name that its schedules begin with."""
        ...

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules by name."""
        ...


@dataclass(frozen=True)
class OwnSchedules:
    """Schedules of a pipeline that stand elsewhere than under `schedules` of its runbook."""

    pipeline: str
    schedules: Mapping[str, Schedule]


class Sensing(Protocol):
    """What declares sensors: a pipeline's runbook, or the platform's own plan."""

    @property
    def pipeline(self) -> str:
        """The name that its sensors begin with."""
        ...

    @property
    def sensors(self) -> Mapping[str, Sensor]:
        """The sensors by name."""
        ...


def schedules_from_runbook(
    runbook: Scheduled, jobs: Mapping[str, ExecutableDefinition], environment: Environment
) -> list[dg.ScheduleDefinition]:
    """Start each job when the runbook says, if it says so for this environment.

    `jobs` gives the job of each schedule by the schedule's name. Raises InvalidRunbookError for a
    schedule without a job and for a job without a schedule: neither may be left out unnoticed.
    """
    for name in runbook.schedules:
        if name not in jobs:
            raise InvalidRunbookError(
                f"The runbook of {runbook.pipeline} has the schedule {name}, but there is no job "
                "for it; give it one in the pipeline's automation.py, or remove the schedule."
            )
    for name in jobs:
        if name not in runbook.schedules:
            raise InvalidRunbookError(
                f"The pipeline {runbook.pipeline} has a job for the schedule {name}, which its "
                "runbook does not have; add it to `schedules`, or remove the job."
            )
    return [_schedule(runbook, name, job, environment) for name, job in jobs.items()]


def _schedule(
    runbook: Scheduled, name: str, job: ExecutableDefinition, environment: Environment
) -> dg.ScheduleDefinition:
    """Start `job` when the runbook says, if it says so for this environment.

    While the pipeline is stopped a tick starts nothing, and is not made up for (SC-30).
    """
    schedule = runbook.schedules[name]

    @dg.schedule(
        name=f"{runbook.pipeline}_{name}",
        job=job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        description=f"{schedule.title} ({', '.join(schedule.requirements)})",
        default_status=dg.DefaultScheduleStatus.RUNNING
        if schedule.is_running(environment)
        else dg.DefaultScheduleStatus.STOPPED,
    )
    def scheduled(
        _: dg.ScheduleEvaluationContext, services: ServicesParam
    ) -> dg.RunRequest | dg.SkipReason:
        why = stopped_sentence(services, runbook.pipeline)
        return dg.RunRequest() if why is None else dg.SkipReason(why)

    return scheduled


def sensor_from_runbook(
    runbook: Sensing,
    setting: str,
    job: ExecutableDefinition | None,
    environment: Environment,
    *,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """Make a function the sensor that the runbook declares, on if it says so for this environment.

    `setting` is its key in the runbook; `name` is the sensor's beside its pipeline's, if another.
    The function gets the context and the services. While the pipeline is stopped it is not called,
    unless it has no job: such a sensor starts nothing, it does its work itself (alerts go on).
    """
    declared = runbook.sensors[setting]
    as_sensor = dg.sensor(
        name=f"{runbook.pipeline}_{name or setting}",
        job=job,
        minimum_interval_seconds=declared.interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING
        if declared.is_running(environment)
        else dg.DefaultSensorStatus.STOPPED,
        description=declared.title,
    )

    def declare(function: Callable[..., Any]) -> dg.SensorDefinition:
        def unless_stopped(context: dg.SensorEvaluationContext, services: ServicesParam) -> Any:
            why = None if job is None else stopped_sentence(services, runbook.pipeline)
            return function(context, services) if why is None else dg.SkipReason(why)

        return as_sensor(unless_stopped)

    return declare


def stopped_sentence(services: Services, pipeline: str) -> str | None:
    """Say why nothing of a pipeline may start now; None if it may.

    Makes the pipeline known, so that it can be stopped by a plain UPDATE of `pipelines` (SC-29).
    """
    with services.database.connection() as connection:
        register_pipelines(connection, [pipeline])
        stop = stop_of(connection, pipeline)
    return None if stop is None else stop.sentence(pipeline)


def freshness_policies(runbook: Runbook) -> Mapping[dg.AssetKey, dg.FreshnessPolicy]:
    """Return the policy of each asset that the runbook gives a freshness."""
    return {
        dg.AssetKey(key.split("/")): freshness_policy(freshness)
        for key, freshness in runbook.freshness.items()
    }


def freshness_policy(freshness: Freshness) -> dg.FreshnessPolicy:
    """Turn a runbook's freshness into Dagster's."""
    if freshness.fail_minutes is not None:
        warn = freshness.warn_minutes
        return dg.FreshnessPolicy.time_window(
            fail_window=timedelta(minutes=freshness.fail_minutes),
            warn_window=timedelta(minutes=warn) if warn else None,
        )
    return dg.FreshnessPolicy.cron(
        deadline_cron=str(freshness.deadline_cron),
        lower_bound_delta=timedelta(minutes=freshness.lower_bound_minutes or 0),
        timezone=freshness.timezone,
    )


def earliest_in_time(freshness: Freshness, now: datetime) -> datetime | None:
    """Return from when on data are in time for the last deadline; None without a deadline."""
    if freshness.deadline_cron is None:
        return None
    deadline = get_latest_completed_cron_tick(freshness.deadline_cron, now, freshness.timezone)
    return deadline - timedelta(minutes=freshness.lower_bound_minutes or 0)
