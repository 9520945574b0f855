"""`/pipelines/...`: what there is, what ran, starting a run, stop and resume (SC-5 to SC-8)."""

import hashlib
import json
import uuid
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline_platform.api.platform import Platform
from pipeline_platform.api.problems import responses
from pipeline_platform.api.security import Caller, Operator, Reader
from pipeline_platform.failures import FailureKind
from pipeline_platform.logs import bound_fields
from pipeline_platform.orchestration.history import PipelineRun
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import stops
from pipeline_platform.warehouse.idempotent_requests import run_id_of_request
from pipeline_platform.warehouse.operator_actions import audited
from pipeline_platform.warehouse.run_records import last_successes, stage_milliseconds

NAME = r"^[a-z][a-z0-9_]{0,62}$"
RUN_ID = r"^[A-Za-z0-9_-]{1,64}$"
Name = Annotated[str, Path(pattern=NAME, description="The pipeline's name.")]
Reason = Annotated[str | None, Field(default=None, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,128}$")]
router = APIRouter(prefix="/pipelines", tags=["pipelines"])
_ERRORS = responses(400, 401, 403, 404, 409, 413, 422, 429, 503)


class StopState(BaseModel):
    """Who stopped it, when and why; scope `*` = everything."""

    scope: str
    stopped_at: datetime
    stopped_by: str
    reason: str | None


class Pipeline(BaseModel):
    """A pipeline and how it stands."""

    id: str
    title: str
    workflow: str | None
    stopped: StopState | None
    last_success_at: datetime | None


class Run(BaseModel):
    """One run, as the UI shows it; `failure_kind` is why it failed, null if it did not."""

    run_id: str
    job: str
    status: str
    partitions: str | None
    started_at: datetime | None
    seconds: float | None
    failure_kind: FailureKind | None

    @classmethod
    def of(cls, run: PipelineRun) -> "Run":
        """Return a run that Dagster remembers."""
        return cls(**vars(run))


class RunError(BaseModel):
    """Why a step failed."""

    task: str | None
    failure_class: str
    message: str


class RunDetail(BaseModel):
    """One run with its errors and the time of its three stages, null where it has none (SC-8)."""

    run_id: str
    pipeline: str
    job: str
    status: str
    created_at: datetime
    started_at: datetime | None
    failure_kind: FailureKind | None
    metrics: dict[str, int | None]
    errors: list[RunError]


class Execution(BaseModel):
    """Which partitions to run: those that hold the first and the last day, and all between."""

    model_config = ConfigDict(extra="forbid")

    first: date
    last: date | None = None


class Started(BaseModel):
    """The run that was queued; `GET /pipelines/{id}/runs/{run_id}` follows it."""

    run_id: str
    pipeline: str
    first_partition: str
    last_partition: str


class Switch(BaseModel):
    """Why something is stopped or resumed."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class Switched(BaseModel):
    """What is stopped now, by scope; `changed` is false if it was so already."""

    changed: bool
    stopped: dict[str, StopState]


def platform_of(request: Request) -> Platform:
    """Return what the service was started with."""
    platform: Platform = request.app.state.platform
    return platform


@router.get("", responses=responses(401, 403, 429, 503))
def list_pipelines(request: Request, _: Reader) -> list[Pipeline]:
    """List every pipeline, with what stops it if anything does."""
    platform = platform_of(request)
    with platform.services.database.connection() as connection:
        stopped = stops.stops(connection)
        ended = {row["pipeline_id"]: row["ended_at"] for row in last_successes(connection)}
    found = []
    for name in platform.pipelines:
        stop = stopped.get(stops.EVERYTHING) or stopped.get(name)
        runbook = platform.runbooks.get(name)
        job = platform.workflows.jobs.get(name)
        found.append(
            Pipeline(
                id=name,
                title=runbook.title if runbook else name,
                workflow=job.name if job else None,
                stopped=StopState(**vars(stop)) if stop else None,
                last_success_at=ended.get(name),
            )
        )
    return found


@router.get("/{pipeline}/runs", responses=_ERRORS)
def list_runs(
    request: Request, pipeline: Name, _: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> list[Run]:
    """List a pipeline's runs, the newest first."""
    platform = platform_of(request)
    name = platform.require_pipeline(pipeline)
    return [Run.of(one) for one in platform.history.runs(pipeline=name, limit=limit)]


@router.get("/{pipeline}/runs/{run_id}", responses=_ERRORS)
def run_detail(
    request: Request, pipeline: Name, run_id: Annotated[str, Path(pattern=RUN_ID)], _: Reader
) -> RunDetail:
    """Return one run with its errors and stage durations."""
    platform = platform_of(request)
    found = platform.recorder.detail(platform.require_pipeline(pipeline), run_id)
    stages = {
        f"{stage}DurationMs": value for stage, value in stage_milliseconds(found.tasks).items()
    }
    return RunDetail(
        run_id=found.run_id,
        pipeline=pipeline,
        job=found.job,
        status=found.status,
        created_at=found.created_at,
        started_at=found.started_at,
        failure_kind=found.failure_kind,
        metrics=stages,
        errors=[RunError(**vars(error)) for error in found.errors],
    )


@router.post("/{pipeline}/execute", status_code=202, responses=_ERRORS)
def execute(
    request: Request,
    pipeline: Name,
    caller: Operator,
    wanted: Execution,
    idempotency_key: Key = None,
) -> Started:
    """Queue a run of the pipeline's workflow over partitions and return its id.

    The same Idempotency-Key with the same body answers with the same run; with another body it is
    refused.
    """
    platform = platform_of(request)
    name = platform.require_pipeline(pipeline)
    first, last = platform.workflows.partitions(name, wanted.first, wanted.last or wanted.first)
    services = platform.services
    with audited(services.database, caller.action("execute", name)) as action:
        stops.require_running(services.database, name)
        body = json.dumps([name, first, last]).encode()
        started = Started(
            run_id=str(uuid.uuid4()), pipeline=name, first_partition=first, last_partition=last
        )
        if idempotency_key is not None:
            with services.database.transaction() as connection:
                run_id = run_id_of_request(
                    connection,
                    actor=caller.holder.name,
                    key=idempotency_key,
                    request_sha256=hashlib.sha256(body).hexdigest(),
                    run_id=started.run_id,
                )
                started = started.model_copy(update={"run_id": run_id})
                # Inside the transaction: who sends the same key meanwhile waits until it is queued.
                _start(platform, started, caller)
        else:
            _start(platform, started, caller)
        action.state_after = started.model_dump()
    return started


@router.post("/{pipeline}/stop", responses=_ERRORS)
def stop_pipeline(
    request: Request, pipeline: Name, caller: Operator, wanted: Switch | None = None
) -> Switched:
    """Stop one pipeline: nothing of it starts, what runs ends between two commits."""
    platform = platform_of(request)
    return switch(platform, caller, platform.require_pipeline(pipeline), "stop", wanted)


@router.post("/{pipeline}/resume", responses=_ERRORS)
def resume_pipeline(
    request: Request, pipeline: Name, caller: Operator, wanted: Switch | None = None
) -> Switched:
    """Let one pipeline go on, if it was stopped alone."""
    platform = platform_of(request)
    return switch(platform, caller, platform.require_pipeline(pipeline), "resume", wanted)


def switch(
    platform: Platform, caller: Caller, scope: str, what: str, wanted: Switch | None
) -> Switched:
    """Stop or resume a scope, recorded with the state before and after."""
    database = platform.services.database
    reason = wanted.reason if wanted else None
    change = stops.stop if what == "stop" else stops.resume
    action = caller.action(what, scope, reason)
    with audited(database, action), database.transaction() as connection:
        action.state_before = stops.in_words(connection)
        changed = change(connection, scope, by=caller.holder.name, reason=reason, now=utc_now())
        action.state_after = stops.in_words(connection)
        stopped = stops.stops(connection)
    return Switched(
        changed=changed, stopped={name: StopState(**vars(one)) for name, one in stopped.items()}
    )


def _start(platform: Platform, started: Started, caller: Caller) -> None:
    platform.workflows.start(
        started.pipeline,
        date.fromisoformat(started.first_partition),
        date.fromisoformat(started.last_partition),
        run_id=started.run_id,
        actor=caller.holder.name,
        request_id=str(bound_fields().get("request_id", "")),
    )
