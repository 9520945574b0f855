"""What Dagster remembers of a pipeline: assets by partition, their checks, its runs (SW-2, SW-4).

A pipeline is the first part of its assets' keys. Everything is asked of the asset graph and the
instance, so that it holds for any pipeline of the code location.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Literal

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from pipeline_platform.failures import FailureKind, NotFoundError
from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)
from pipeline_platform.orchestration.pipeline_runs import FAILED, belongs
from pipeline_platform.orchestration.run_failures import read_kind
from pipeline_platform.orchestration.sensors import UNFINISHED

State = Literal["done", "present", "missing", "failed", "running"]
"""`present` is what is there although no run is remembered that made it; a caller can know that."""

EVALUATIONS_LOOKED_AT = 50
RUNS_LOOKED_AT = 1000
FIRST_PAGE = 100
"""Runs are looked at in pages: the first is short, because the latest runs are mostly enough."""


@dataclass(frozen=True)
class CheckState:
    """How a check of an asset was last evaluated; `outcome` is None where it never was."""

    name: str
    outcome: str | None
    severity: str | None = None
    description: str = ""
    evaluated_at: datetime | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class AssetState:
    """An asset at one partition, or at its latest materialization where it has none.

    `at` and `run_id` are those of the latest attempt; a failed one leaves what was there before.
    `row_count` is what the run told, None where it told it for several partitions together.
    """

    asset: dg.AssetKey
    partition: str | None
    state: State
    at: datetime | None
    run_id: str | None
    row_count: int | None
    checks: tuple[CheckState, ...]

    def count(self, outcome: str | None) -> int:
        """Return how many checks ended so."""
        return sum(check.outcome == outcome for check in self.checks)


@dataclass(frozen=True)
class PipelineRun:
    """One run of a job; `partitions` is the one that it covers, or the first and the last."""

    run_id: str
    job: str
    status: str
    partitions: str | None
    started_at: datetime | None
    seconds: float | None
    failure_kind: FailureKind | None = None


def pipelines(graph: AssetGraph) -> list[str]:
    """Return the pipelines of the code location: the first parts of its asset keys."""
    return sorted({key.path[0] for key in graph.get_all_asset_keys()})


def assets_of(graph: AssetGraph, pipeline: str) -> list[dg.AssetKey]:
    """Return a pipeline's assets, each after those that it is made from."""
    order = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
    return [key for key in order if key.path[0] == pipeline]


def standalone_checks(
    graph: AssetGraph, pipeline: str, stated: Collection[dg.AssetCheckKey] = ()
) -> tuple[list[dg.AssetCheckKey], list[dg.AssetCheckKey]]:
    """Return the checks that can run by themselves, and those that are part of a publication.

    They are those of the pipeline's assets, and those `stated` by its runbook on assets that all
    pipelines share, such as backups.
    """
    keys = sorted(
        (
            key
            for key in graph.asset_check_keys
            if key.asset_key.path[0] == pipeline or key in stated
        ),
        key=lambda key: (key.asset_key, key.name),
    )
    alone = [key for key in keys if not graph.assets_def_for_key(key).keys]
    return alone, [key for key in keys if key not in alone]


def partition_of(graph: AssetGraph, asset: dg.AssetKey, day: date) -> str | None:
    """Return the key of the asset's partition that holds a day; None for one without partitions.

    Raises NotFoundError for a day before the first partition or after the last.
    """
    partitions = graph.get(asset).partitions_def
    if not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        return None
    return partition_holding(partitions, day, asset.to_user_string())


def partition_holding(partitions: dg.TimeWindowPartitionsDefinition, day: date, name: str) -> str:
    """Return the key of the partition that holds a day; NotFoundError says so of `name`."""
    first, last = partitions.get_first_partition_key(), partitions.get_last_partition_key()
    is_held = False
    if first is not None and last is not None:
        # Compared here, because Dagster can't search near the ends of the calendar.
        begin = partitions.time_window_for_partition_key(first).start.date()
        is_held = begin <= day < partitions.time_window_for_partition_key(last).end.date()
    if not is_held:
        raise NotFoundError(
            f"{name} has no partition for {day}; its partitions go from {first} to {last}."
        )
    return partitions.get_partition_key_for_timestamp(
        datetime.combine(day, time(), UTC).timestamp()
    )


def window_of(graph: AssetGraph, assets: Sequence[dg.AssetKey], day: date) -> tuple[date, date]:
    """Return the days from (included) and to (excluded) of the shortest partition that holds a day.

    A pipeline without partitions has the day itself.
    """
    windows = [(day, date.fromordinal(day.toordinal() + 1))]
    for asset in assets:
        partitions = graph.get(asset).partitions_def
        key = partition_of(graph, asset, day)
        if key is not None and isinstance(partitions, dg.TimeWindowPartitionsDefinition):
            window = partitions.time_window_for_partition_key(key)
            windows.append((window.start.date(), window.end.date()))
    return min(windows[1:] or windows, key=lambda window: window[1] - window[0])


@dataclass(frozen=True)
class History:
    """What an instance remembers of the assets of a graph."""

    graph: AssetGraph
    instance: dg.DagsterInstance

    @cached_property
    def _known_runs(self) -> dict[str, dg.DagsterRun | None]:
        return {}

    def assets(self, pipeline: str, day: date) -> Iterator[AssetState]:
        """Yield the state of each of a pipeline's assets at the partition that holds a day."""
        for asset in assets_of(self.graph, pipeline):
            partition = partition_of(self.graph, asset, day)
            yield self._asset(asset, partition)

    def checks(
        self, keys: Iterable[dg.AssetCheckKey], partition: str | None = None
    ) -> list[CheckState]:
        """Return how checks were last evaluated; with a partition, by a run that covered it."""
        return [self._check(key, partition) for key in keys]

    def runs(
        self, *, pipeline: str | None = None, asset: dg.AssetKey | None = None, limit: int = 5
    ) -> list[PipelineRun]:
        """Return the latest runs, newest first: of a pipeline, or those that made an asset.

        A run belongs to a pipeline if its job's name begins with the pipeline's, or if it was
        started for assets of it.
        """
        if asset is not None:
            return self._runs_of_asset(asset, limit)
        found: list[dg.RunRecord] = []
        cursor, page = None, FIRST_PAGE
        while len(found) < limit:
            records = self.instance.get_run_records(limit=page, cursor=cursor)
            found += [
                record
                for record in records
                if pipeline is None or belongs(record.dagster_run, pipeline)
            ]
            if len(records) < page:
                break
            cursor, page = records[-1].dagster_run.run_id, RUNS_LOOKED_AT
        # Cut first: of a failed run the errors may have to be read.
        return [self._described(record) for record in found[:limit]]

    def last_materialized(self, keys: Iterable[str]) -> dict[str, datetime | None]:
        """Return when assets (pipeline/layer/noun) were last materialized; None = never."""
        wanted = {key: dg.AssetKey(key.split("/")) for key in keys}
        records = self.instance.get_asset_records(list(wanted.values()))
        found = {one.asset_entry.asset_key: one.asset_entry.last_materialization for one in records}
        return {
            key: _instant(entry.timestamp) if (entry := found.get(asset)) is not None else None
            for key, asset in wanted.items()
        }

    def contract_outcomes(self, run_id: str) -> Iterator[tuple[str, str]]:
        """Yield quality dimension and outcome of every contract rule that a run evaluated."""
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        for entry in self.instance.all_logs(run_id, of_type=kind):
            evaluation = entry.get_dagster_event().asset_check_evaluation_data
            key = dg.AssetCheckKey(evaluation.asset_key, evaluation.check_name)
            if key in self.graph.asset_check_keys:
                dimension = self.graph.get_check_spec(key).metadata.get("dimension")
                if isinstance(dimension, str):
                    yield dimension, outcome_of(evaluation)

    def count_unfinished(self, job_suffix: str) -> int:
        """Return how many runs of jobs whose name ends so have begun and not ended."""
        begun = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        return sum(run.job_name.endswith(job_suffix) for run in self.instance.get_runs(begun))

    def _runs_of_asset(self, asset: dg.AssetKey, limit: int) -> list[PipelineRun]:
        filters = dg.RunsFilter(run_ids=self._run_ids_of(asset, limit))
        records = self.instance.get_run_records(filters) if filters.run_ids else []
        return [self._described(record) for record in records[:limit]]

    def _described(self, record: dg.RunRecord) -> PipelineRun:
        run, span = record.dagster_run, covered_partitions(record.dagster_run)
        start, end = record.start_time, record.end_time
        return PipelineRun(
            run_id=run.run_id,
            job=run.job_name,
            status=run.status.value,
            partitions=span,
            started_at=_instant(start),
            seconds=round(end - start, 3) if start is not None and end is not None else None,
            failure_kind=read_kind(self.instance, run),
        )

    def _run_ids_of(self, asset: dg.AssetKey, limit: int) -> list[str]:
        """Return the runs that were to make or observe an asset, a range's once."""
        found: dict[str, None] = {}
        for fetch in (
            self.instance.fetch_planned_materializations,
            self.instance.fetch_observations,
        ):
            ids: dict[str, None] = {}
            cursor = None
            while len(ids) < limit:
                result = fetch(asset, limit=RUNS_LOOKED_AT, cursor=cursor)
                ids.update(dict.fromkeys(record.run_id for record in result.records))
                if not result.has_more:
                    break
                cursor = result.cursor
            found.update(dict.fromkeys(list(ids)[:limit]))
        return list(found)

    def _asset(self, asset: dg.AssetKey, partition: str | None) -> AssetState:
        node = self.graph.get(asset)
        checks = tuple(self.checks(sorted(node.check_keys, key=lambda key: key.name), partition))
        fetch = (
            self.instance.fetch_materializations
            if node.is_materializable
            else self.instance.fetch_observations
        )
        wanted = dg.AssetRecordsFilter(
            asset_key=asset, asset_partitions=[partition] if partition else None
        )
        records = fetch(wanted, limit=1).records
        made = records[0] if records else None
        planned = self.instance.get_latest_planned_materialization_info(asset, partition)
        if planned is not None and (made is None or planned.storage_id > made.storage_id):
            attempt = self._run(planned.run_id)
            state = _attempted(attempt, is_made=made is not None)
            if state is not None and attempt is not None:
                (record,) = self.instance.get_run_records(
                    dg.RunsFilter(run_ids=[attempt.run_id]), limit=1
                )
                at = _instant(record.start_time)
                return AssetState(asset, partition, state, at, attempt.run_id, None, checks)
        if made is None:
            return AssetState(asset, partition, "missing", None, None, None, checks)
        return AssetState(
            asset,
            partition,
            "done",
            _instant(made.timestamp),
            made.run_id,
            self._row_count(made),
            checks,
        )

    def _row_count(self, made: dg.EventLogRecord) -> int | None:
        span = covered(self._tags(made.run_id))
        told = made.asset_materialization
        if told is None or (span is not None and span[0] != span[1]):
            return None
        count = told.metadata.get("dagster/row_count")
        return count.value if isinstance(count, dg.IntMetadataValue) else None

    def _check(self, key: dg.AssetCheckKey, partition: str | None) -> CheckState:
        storage = self.instance.event_log_storage
        history = storage.get_asset_check_execution_history(key, limit=EVALUATIONS_LOOKED_AT)
        evaluated = [
            record
            for record in history
            if record.event is not None
            and record.event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        if partition is not None:
            evaluated = self._about(evaluated, partition)
        return _evaluation(key, evaluated[0]) if evaluated else CheckState(key.name, None)

    def _about(
        self, records: Sequence[AssetCheckExecutionRecord], partition: str
    ) -> list[AssetCheckExecutionRecord]:
        """Return the evaluations of runs that covered a partition.

        Of a check that never runs for partitions (of the service, of the landing zone), all.
        """
        ranges = [(record, covered(self._tags(record.run_id))) for record in records]
        if all(span is None for _, span in ranges):
            return list(records)
        return [record for record, span in ranges if span and span[0] <= partition <= span[1]]

    def _tags(self, run_id: str) -> Mapping[str, str]:
        run = self._run(run_id)
        return run.tags if run is not None else {}

    def _run(self, run_id: str) -> dg.DagsterRun | None:
        if run_id not in self._known_runs:
            self._known_runs[run_id] = self.instance.get_run_by_id(run_id)
        return self._known_runs[run_id]


def _attempted(run: dg.DagsterRun | None, *, is_made: bool) -> State | None:
    """Return what a later attempt than the latest materialization makes of it; None = nothing."""
    if run is None:
        return None
    if run.status in UNFINISHED:
        return "running"
    if run.status in FAILED:
        return "failed"
    return None if is_made else "missing"


def _evaluation(key: dg.AssetCheckKey, record: AssetCheckExecutionRecord) -> CheckState:
    event = record.event
    assert event is not None  # noqa: S101 -- chosen for having one
    evaluation = event.get_dagster_event().asset_check_evaluation_data
    return CheckState(
        key.name,
        outcome_of(evaluation),
        evaluation.severity.value,
        evaluation.description or "",
        _instant(event.timestamp),
        record.run_id,
    )


def outcome_of(evaluation: dg.AssetCheckEvaluation) -> str:
    """Return `pass`, `fail` or `not measurable`: what the check says, else whether it passed."""
    if "outcome" in evaluation.metadata:
        return str(evaluation.metadata["outcome"].value)
    return "pass" if evaluation.passed else "fail"


def covered_partitions(run: dg.DagsterRun) -> str | None:
    """Return the partition that a run covers, or `first to last`; None for one without."""
    span = covered(run.tags)
    return None if span is None else span[0] if span[0] == span[1] else " to ".join(span)


def partitions_of_step(graph: AssetGraph, pipeline: str, step: str, day: date) -> set[str]:
    """Return the partitions, each holding a day, in which a step of a pipeline's runs works.

    They are those of the assets that it makes or checks; of a step that has to do with no
    partitioned asset, those of all the pipeline's assets.
    """
    own = {
        key
        for one in graph.assets_defs
        if one.is_executable and one.node_def.name == step
        for key in (*one.keys, *(check.asset_key for check in one.check_keys))
    }
    return _partitions_holding(graph, own, day) or _partitions_holding(
        graph, assets_of(graph, pipeline), day
    )


def _partitions_holding(graph: AssetGraph, assets: Iterable[dg.AssetKey], day: date) -> set[str]:
    found: set[str | None] = set()
    for asset in assets:
        with suppress(NotFoundError):  # a day before or after all partitions is in none
            found.add(partition_of(graph, asset, day))
    return {one for one in found if one is not None}


def covers(run: dg.DagsterRun, partitions: Iterable[str]) -> bool:
    """Tell whether one of these partitions is in what a run covers."""
    span = covered(run.tags)
    return span is not None and any(span[0] <= one <= span[1] for one in partitions)


def covered(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first and the last partition that a run's tags name; None without any."""
    one = tags.get(ONE_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, one), tags.get(RANGE_END_TAG, one)
    return (first, last) if first and last else None


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
