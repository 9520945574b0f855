"""The slowest steps of the runs that ended in a window of time (SP-37)."""

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from pipeline_platform.orchestration.history import covered_partitions
from pipeline_platform.orchestration.pipeline_runs import ENDED, belongs


@dataclass(frozen=True)
class SlowStep:
    """One step of one run, and how long it took."""

    run_id: str
    job: str
    step: str
    partitions: str | None
    started_at: datetime
    seconds: float
    succeeded: bool


def slowest_steps(
    instance: dg.DagsterInstance, since: datetime, pipeline: str | None, limit: int
) -> list[SlowStep]:
    """Return the steps that took longest, slowest first.

    No step takes longer than its run: so runs are read from the longest on, until no run is left
    that could hold one slower than those found.
    """
    wanted = dg.RunsFilter(statuses=list(ENDED), updated_after=since)
    records = [
        record
        for record in instance.get_run_records(wanted)
        if pipeline is None or belongs(record.dagster_run, pipeline)
    ]
    found: list[SlowStep] = []
    for record in sorted(records, key=_seconds, reverse=True):
        if len(found) >= limit and _seconds(record) <= found[limit - 1].seconds:
            break
        found = sorted([*found, *_steps(instance, record.dagster_run)], key=_slowness)[:limit]
    return found


def _seconds(record: dg.RunRecord) -> float:
    if record.start_time is None or record.end_time is None:
        return 0.0
    return record.end_time - record.start_time


def _slowness(step: SlowStep) -> float:
    return -step.seconds


def _steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[SlowStep]:
    return [
        SlowStep(
            run_id=run.run_id,
            job=run.job_name,
            step=one.step_key,
            partitions=covered_partitions(run),
            started_at=datetime.fromtimestamp(one.start_time, UTC),
            seconds=round(one.end_time - one.start_time, 3),
            succeeded=one.status is not None and one.status.value == "SUCCESS",
        )
        for one in instance.get_run_step_stats(run.run_id)
        if one.start_time is not None and one.end_time is not None
    ]
