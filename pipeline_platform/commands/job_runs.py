"""A job run within the command's own process, and what did not pass."""

import logging
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from pipeline_platform.commands.output import console, show_rows
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.progress import listener


@dataclass(frozen=True)
class WorkflowEnd:
    """How a workflow ended: `not_passed` has asset, check, severity and why of each fault.

    `is_done`: every step succeeded; `is_fine`: and no check found an error.
    """

    run_id: str
    is_done: bool
    is_fine: bool
    check_count: int
    not_passed: tuple[Mapping[str, object], ...]


def execute_quietly(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    run_config: Mapping[str, object] | None = None,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process without its log on the screen; a failure is in the result."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={**quiet, **(run_config or {})},
        **options,
    )


@contextmanager
def step_progress(instance: dg.DagsterInstance, job: dg.JobDefinition) -> Iterator[str]:
    """Tell of a run's steps to whoever listens; yields the id that the run must have."""
    run_id, found = str(uuid.uuid4()), listener()
    if found is None:
        yield run_id
        return
    number = found.begin("steps", len(job.nodes))

    def on_event(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is not None and (event.is_step_success or event.is_step_failure):
            found.advance(number)

    instance.add_event_listener(run_id, on_event)
    try:
        yield run_id
    finally:
        found.end(number)


def run_job(
    instance: dg.DagsterInstance, job: dg.JobDefinition, pipeline: str, first: date, last: date
) -> WorkflowEnd:
    """Run a job over a range of partitions, quietly, and say how it ended."""
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    with step_progress(instance, job) as run_id:
        result = execute_quietly(instance, job, tags=range_tags(first, last), run_id=run_id)
    checks = result.get_asset_check_evaluations()
    broken = [one for one in checks if not one.passed]
    rows = [
        {
            "asset": one.asset_key.to_user_string().removeprefix(f"{pipeline}/"),
            "check": one.check_name,
            "severity": one.severity.value,
            "why": one.description or "",
        }
        for one in broken
    ]
    rows += [
        {
            "asset": failed.step_key or "",
            "check": "the step itself",
            "severity": "ERROR",
            "why": _why(failed),
        }
        for failed in result.all_events
        if failed.is_step_failure
    ]
    return WorkflowEnd(
        run_id=result.run_id,
        is_done=result.success,
        is_fine=result.success
        and not any(one.severity == dg.AssetCheckSeverity.ERROR for one in broken),
        check_count=len(checks),
        not_passed=tuple(rows),
    )


def together(ends: Sequence[WorkflowEnd]) -> WorkflowEnd:
    """Return how several runs, at least one, ended as one."""
    return WorkflowEnd(
        run_id=", ".join(one.run_id for one in ends),
        is_done=all(one.is_done for one in ends),
        is_fine=all(one.is_fine for one in ends),
        check_count=sum(one.check_count for one in ends),
        not_passed=tuple(row for one in ends for row in one.not_passed),
    )


def show_end(ended: WorkflowEnd, *, as_json: bool) -> None:
    """Print which checks and steps of a workflow did not pass."""
    show_rows("What did not pass", ended.not_passed, as_json=as_json, empty="nothing, all is well.")
    if not as_json:
        result = "is fine" if ended.is_fine else "failed"
        console.print(f"Run {ended.run_id} {result}; {ended.check_count} checks.", highlight=False)


def _why(failed: dg.DagsterEvent) -> str:
    error = failed.step_failure_data.error
    user_failure = failed.step_failure_data.user_failure_data
    if user_failure is not None and user_failure.description:
        return user_failure.description
    return error.message.strip() if error is not None else "unknown"
