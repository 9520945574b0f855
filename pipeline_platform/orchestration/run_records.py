"""Runs of Dagster as records: steps, stage durations and errors, stored once each has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.dagster_run import RunRecord

from pipeline_platform.failures import NotFoundError
from pipeline_platform.orchestration.failures import FAILURE_TAG, PEAK_MEMORY, STOPPED_TAG
from pipeline_platform.orchestration.history import pipelines
from pipeline_platform.orchestration.pipeline_runs import ENDED, belongs, is_work
from pipeline_platform.orchestration.run_failures import FAILURES, errors_of, kind_of
from pipeline_platform.services import Services
from pipeline_platform.warehouse.run_records import (
    STOPPED,
    EndedRun,
    RunError,
    Stage,
    Task,
    record_run,
    recorded_until,
    unrecorded,
)

PAGE = 200
_STAGES: Mapping[str, Stage] = {
    "landing": "extraction",
    "bronze": "extraction",
    "silver": "transformation",
    "gold": "transformation",
    "serving": "loading",
}
_ENDS = {dg.DagsterEventType.STEP_SUCCESS: True, dg.DagsterEventType.STEP_FAILURE: False}


@dataclass(frozen=True)
class RunRecorder:
    """Reads runs of a code location from an instance."""

    graph: AssetGraph
    jobs: Sequence[dg.JobDefinition]
    instance: dg.DagsterInstance

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Return the stage of each step: of the layer of its assets, or of its tag `layer`."""
        found: dict[str, Stage] = {}
        for one in self.jobs:
            for node in one.nodes:
                layer = node.definition.tags.get("layer", "")
                if layer in _STAGES:
                    found[node.name] = _STAGES[layer]
        for assets in self.graph.assets_defs:
            layers = {key.path[1] for key in assets.keys if len(key.path) > 1}
            stages = {_STAGES[layer] for layer in layers if layer in _STAGES}
            if assets.is_executable and len(stages) == 1:
                found[assets.node_def.name] = stages.pop()
        return found

    def record_ended(self, services: Services) -> int:
        """Record the runs that ended since last time; return how many."""
        with services.database.connection() as connection:
            since = recorded_until(connection)
        wanted = dg.RunsFilter(statuses=list(ENDED), updated_after=since)
        count, cursor = 0, None
        while True:
            records = self.instance.get_run_records(wanted, limit=PAGE, cursor=cursor)
            with services.database.connection() as connection:
                new = unrecorded(connection, [one.dagster_run.run_id for one in records])
            for record in records:
                if record.dagster_run.run_id in new:
                    ended = self._ended(record)
                    self._keep_kind(record.dagster_run, ended)
                    with services.database.transaction() as connection:
                        count += record_run(connection, ended)
            if len(records) < PAGE:
                return count
            cursor = records[-1].dagster_run.run_id

    def detail(self, pipeline: str, run_id: str) -> EndedRun:
        """Return one run of a pipeline, ended or not; raise NotFoundError."""
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
        if not records or not belongs(records[0].dagster_run, pipeline):
            raise NotFoundError(f"{pipeline} has no run {run_id}.")
        return self._ended(records[0])

    def _ended(self, record: RunRecord) -> EndedRun:
        run = record.dagster_run
        tasks, errors = self._steps(run.run_id)
        end = record.end_time
        return EndedRun(
            run_id=run.run_id,
            pipeline=self._pipeline(run),
            job=run.job_name,
            status=STOPPED if STOPPED_TAG in run.tags else run.status.value,
            created_at=record.create_timestamp.astimezone(UTC),
            started_at=_instant(record.start_time),
            ended_at=_instant(end) or record.update_timestamp.astimezone(UTC),
            tasks=tasks,
            errors=errors,
            failure_kind=kind_of(run, errors),
            is_work=is_work(run),
        )

    def _keep_kind(self, run: dg.DagsterRun, ended: EndedRun) -> None:
        """Keep the kind of a failure on the run, where the failing step did not do so itself."""
        if ended.failure_kind is not None and FAILURE_TAG not in run.tags:
            self.instance.add_run_tags(run.run_id, {FAILURE_TAG: ended.failure_kind})

    def _pipeline(self, run: dg.DagsterRun) -> str:
        found = [name for name in pipelines(self.graph) if belongs(run, name)]
        return found[0] if found else ""

    def _steps(self, run_id: str) -> tuple[tuple[Task, ...], tuple[RunError, ...]]:
        """Read the steps that ended, each once (its last attempt), and what failed."""
        started: dict[str, float] = {}
        tasks: dict[str, Task] = {}
        peaks: dict[str, int] = {}
        failed: list[dg.DagsterEvent] = []
        made = dg.DagsterEventType.ASSET_MATERIALIZATION
        wanted = {dg.DagsterEventType.STEP_START, made, *_ENDS, *FAILURES}
        for entry in self.instance.all_logs(run_id, of_type=wanted):
            event = entry.get_dagster_event()
            step = event.step_key
            if event.event_type == dg.DagsterEventType.STEP_START and step:
                started.setdefault(step, entry.timestamp)
            if event.event_type == made and step:
                told = event.step_materialization_data.materialization.metadata.get(PEAK_MEMORY)
                if isinstance(told, dg.IntMetadataValue) and told.value is not None:
                    peaks[step] = told.value
            if event.event_type in _ENDS and step:
                seconds = max(0.0, entry.timestamp - started.get(step, entry.timestamp))
                succeeded = _ENDS[event.event_type]
                tasks[step] = Task(step, succeeded, seconds, self.stages.get(step))
            if event.event_type in FAILURES:
                failed.append(event)
        measured = (replace(one, peak_bytes=peaks.get(name)) for name, one in tasks.items())
        return tuple(measured), errors_of(failed)


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
