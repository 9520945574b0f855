"""What Dagster stores of its runs, also as lines of our log (SC-32, SP-28, SP-37).

One place for every process: whoever stores an event tells it here (`pooled_storage`), be it a run,
the daemon or the HTTP service. Fields of a line are described in `logs`.
"""

import logging
from collections.abc import Mapping
from functools import cache

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.utils import coerce_valid_log_level

from pipeline_platform.logs import LEVEL_FIELD, told
from pipeline_platform.operations.plan import alertings
from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)

REQUEST_TAG = "request_id"
"""On a run that a request to the HTTP service started."""
_log = logging.getLogger("pipeline_platform.runs")
_SUCCESS = {
    DagsterEventType.RUN_ENQUEUED,
    DagsterEventType.RUN_START,
    DagsterEventType.RUN_SUCCESS,
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_OBSERVATION,
}
_TROUBLE = {DagsterEventType.STEP_UP_FOR_RETRY, DagsterEventType.RUN_CANCELED}
_ERRORS = {DagsterEventType.RUN_FAILURE, DagsterEventType.STEP_FAILURE}

Tags = Mapping[str, str]


def tell(entry: EventLogEntry, tags: Tags) -> None:
    """Log an event of a run that has these tags.

    Events other than those of runs, steps, assets and checks are logged at level debug.
    """
    event = entry.dagster_event
    level, status, message = _described(entry, event)
    _log.log(
        level,
        "%s",
        message,
        extra=told(
            request_id=tags.get(REQUEST_TAG),
            operation=entry.job_name,
            status=status,
            run_id=entry.run_id,
            pipelineId=_pipeline(entry.job_name or "", event),
            step=entry.step_key,
            partition=_partition(event, tags),
            duration_ms=_duration(event),
            event=event.event_type_value if event is not None else None,
            asset=event.asset_key.to_user_string() if event and event.asset_key else None,
            **{LEVEL_FIELD: tags.get(LEVEL_FIELD)},
        ),
    )


def run_fields(run: dg.DagsterRun, step: str) -> dict[str, object]:
    """Return the fields of all that is logged in a step of a run."""
    fields = {
        "request_id": run.tags.get(REQUEST_TAG),
        "operation": run.job_name,
        "run_id": run.run_id,
        "pipelineId": _pipeline(run.job_name, None),
        "step": step,
        "partition": _partition(None, run.tags),
        LEVEL_FIELD: run.tags.get(LEVEL_FIELD),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _described(entry: EventLogEntry, event: DagsterEvent | None) -> tuple[int, str, str]:
    """Return level, status and message of an event."""
    if event is None:
        level = coerce_valid_log_level(entry.level)
        return level, "error" if level >= logging.ERROR else "success", entry.user_message
    kind = event.event_type
    if kind == DagsterEventType.ASSET_CHECK_EVALUATION:
        return _of_check(event)
    message = event.message or kind.value
    if kind in _ERRORS:
        return logging.ERROR, "error", f"{message} {_reason(event)}".strip()
    if kind in _TROUBLE:
        return logging.WARNING, "error", message
    return logging.INFO if kind in _SUCCESS else logging.DEBUG, "success", message


def _of_check(event: DagsterEvent) -> tuple[int, str, str]:
    """Say how a check ended; a contract's violation is found by `expectation.*failed` (SP-28)."""
    found = event.asset_check_evaluation_data
    name = f"expectation {found.check_name} of {found.asset_key.to_user_string()}"
    if found.passed:
        return logging.DEBUG, "success", f"{name} passed"
    outcome = found.metadata.get("outcome")
    why = f": {found.description}" if found.description else ""
    if outcome is not None and outcome.value == "not measurable":
        return logging.INFO, "success", f"{name} can't be measured{why}"
    return logging.WARNING, "error", f"{name} failed{why}"


def _reason(event: DagsterEvent) -> str:
    """Return why a step failed, in one sentence."""
    if event.event_type != DagsterEventType.STEP_FAILURE:
        return ""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error and (data.error.cause or data.error)
    return " ".join(error.message.split()) if error else ""


def _pipeline(job: str, event: DagsterEvent | None) -> str | None:
    """Return the pipeline of a job by its name, else of the asset that an event is about."""
    named = [name for name in _names() if job == name or job.startswith(f"{name}_")]
    if named:
        return named[0]
    first = event.asset_key.path[0] if event is not None and event.asset_key else None
    return first if first in _names() else None


@cache
def _names() -> tuple[str, ...]:
    return tuple(alertings())


def _partition(event: DagsterEvent | None, tags: Tags) -> str | None:
    """Return the partition of an event, or the ones of its run, `first...last`."""
    if event is not None and event.partition:
        return event.partition
    first = tags.get(RANGE_START_TAG)
    if first is None:
        return tags.get(ONE_PARTITION_TAG)
    last = tags.get(RANGE_END_TAG, first)
    return first if first == last else f"{first}...{last}"


def _duration(event: DagsterEvent | None) -> float | None:
    if event is None or event.event_type != DagsterEventType.STEP_SUCCESS:
        return None
    return round(event.step_success_data.duration_ms, 1)
