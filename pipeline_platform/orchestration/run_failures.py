"""Why a run failed, and of which kind its failure is (SA-52, SW-13).

What the platform's own code raised says its kind itself, as a tag of the run. The kind of all
others (an error nobody thought of, a process that died, a run that somebody ended) follows from
what Dagster noted.
"""

from collections.abc import Iterable, Sequence
from typing import cast, get_args

import dagster as dg

from pipeline_platform.failures import FailureKind, kind_of_class
from pipeline_platform.orchestration.failures import FAILURE_TAG, STOPPED_TAG
from pipeline_platform.warehouse.run_records import RunError

FAILURES = frozenset({dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})
MAX_ERRORS = 50
MAX_MESSAGE = 2000
_ENDED_PROCESS = {"ChildProcessCrashException", "DagsterExecutionInterruptedError"}


def errors_of(events: Iterable[dg.DagsterEvent]) -> tuple[RunError, ...]:
    """Return what failed, of the events of a run: its steps, or itself if none did."""
    found = [_error(event) for event in events if event.event_type in FAILURES]
    return tuple(([one for one in found if one.task] or found)[:MAX_ERRORS])


def read_errors(instance: dg.DagsterInstance, run_id: str) -> tuple[RunError, ...]:
    """Return what failed in a run."""
    entries = instance.all_logs(run_id, of_type=set(FAILURES))
    return errors_of(entry.get_dagster_event() for entry in entries)


def kind_of(run: dg.DagsterRun, errors: Sequence[RunError] | None = None) -> FailureKind | None:
    """Return the kind of a run's failure; None if it did not fail, or if only its errors tell."""
    if STOPPED_TAG in run.tags:
        return "stopped"
    if run.status == dg.DagsterRunStatus.CANCELED:
        return "cancelled"
    if run.status != dg.DagsterRunStatus.FAILURE:
        return None
    told = run.tags.get(FAILURE_TAG)
    if told in get_args(FailureKind):
        return cast("FailureKind", told)
    return None if errors is None else _kind_of_errors(errors)


def read_kind(instance: dg.DagsterInstance, run: dg.DagsterRun) -> FailureKind | None:
    """Return the kind of a run's failure, from its errors where nothing else tells it."""
    if run.status != dg.DagsterRunStatus.FAILURE:
        return kind_of(run)
    return kind_of(run) or kind_of(run, read_errors(instance, run.run_id))


def _kind_of_errors(errors: Sequence[RunError]) -> FailureKind:
    steps = [one for one in errors if one.task and one.failure_class not in _ENDED_PROCESS]
    if not steps:
        return "lost"
    known = [kind_of_class(one.failure_class) for one in steps]
    return next((kind for kind in known if kind is not None), "defect")


def _error(event: dg.DagsterEvent) -> RunError:
    if not event.is_step_failure:
        return RunError(None, "RunFailure", (event.message or "unknown")[:MAX_MESSAGE])
    data = event.step_failure_data
    failure = data.user_failure_data
    if failure is not None and failure.description:
        told = failure.metadata.get("failure_class")
        name = str(told.value) if told is not None else "Failure"
        return RunError(event.step_key, name, failure.description[:MAX_MESSAGE])
    error = data.error
    cause = error.cause if error is not None and error.cause is not None else error
    if cause is None:
        return RunError(event.step_key, "unknown", "unknown")
    return RunError(
        event.step_key, cause.cls_name or "unknown", cause.message[:MAX_MESSAGE].strip()
    )
