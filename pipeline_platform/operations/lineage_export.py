"""Tell a lineage service of what ran and what was made (XC-9, SP-31); off without a setting.

Runs come from `pipeline_runs`, the record that /metrics and pages read; commits from the snapshots
of the lake, which carry their run, inputs and rows; loads from `served_loads`. What was told is
remembered piece by piece, so a service that is away delays its own news and nothing else: no run
waits for it. A process killed between telling and remembering tells the same again, under the same
ids. A single event that the service does not take is passed over and counted.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.lineage import inputs_of
from pipeline_platform.lake.publications import PARTITIONS, RUN_ID, STANDS_FOR, Publication
from pipeline_platform.operations.lineage_events import (
    Dataset,
    Event,
    Run,
    Work,
    run_events,
    work_events,
)
from pipeline_platform.operations.lineage_sender import RefusedEventError, sender
from pipeline_platform.services import Services
from pipeline_platform.warehouse.locks import named_lock

if TYPE_CHECKING:
    from pyiceberg.table import Table

AssetKey: TypeAlias = tuple[str, ...]
PIECES_AT_ONCE = 200
"""Runs, commits and loads that one round tells of; the next one goes on."""
_LAKE = ("bronze", "silver", "gold")


@dataclass(frozen=True)
class Told:
    """How many pieces were told, how many events were not taken, and whether nothing is left."""

    runs: int = 0
    commits: int = 0
    loads: int = 0
    refused: int = 0
    is_complete: bool = True

    def and_then(self, later: "Told") -> "Told":
        """Return both rounds as one."""
        return Told(
            self.runs + later.runs,
            self.commits + later.commits,
            self.loads + later.loads,
            self.refused + later.refused,
            later.is_complete,
        )

    def in_words(self) -> str:
        """Say it in one sentence."""
        refused = f" {self.refused} events were not taken." if self.refused else ""
        more = "" if self.is_complete else " More follows in the next round."
        return (
            f"Told of {self.runs} runs, {self.commits} commits and {self.loads} loads."
            f"{refused}{more}"
        )


@dataclass(frozen=True)
class _Piece:
    """Something to tell, and how it is remembered that it was told."""

    kind: str
    events: Sequence[Event]
    remember: Callable[[Any], object]


@dataclass(frozen=True)
class LineageExport:
    """Tells of assets: each key (pipeline, layer, noun) with those that it is made from.

    `job_of` returns the job of a run of Dagster, None for any other run.
    """

    services: Services
    assets: Mapping[AssetKey, Sequence[AssetKey]]
    job_of: Callable[[str], str | None]
    at_once: int = PIECES_AT_ONCE
    _jobs: dict[str, str | None] = field(default_factory=dict)

    def send(self) -> Told:
        """Tell what is new, and remember it; one process does so at a time."""
        counts = {"run": 0, "commit": 0, "load": 0}
        refused = done = 0
        database = self.services.database
        with (
            sender(self.services.settings) as send,
            named_lock(database, "lineage", wait_seconds=1),
        ):
            for piece in self._bounded(self._pieces()):
                for event in piece.events:
                    try:
                        send(event)
                    except RefusedEventError:
                        refused += 1
                with database.transaction() as connection:
                    piece.remember(connection)
                counts[piece.kind] += bool(piece.events)
                done += 1
        is_complete = done < self.at_once
        return Told(counts["run"], counts["commit"], counts["load"], refused, is_complete)

    def events(self) -> list[Event]:
        """Return the events that the next round would send; send and remember nothing."""
        return [event for one in self._bounded(self._pieces()) for event in one.events]

    def _bounded(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        for count, piece in enumerate(pieces, 1):
            yield piece
            if count == self.at_once:
                return

    def _pieces(self) -> Iterator[_Piece]:
        yield from self._runs()
        with self.services.database.connection() as connection:
            rows = connection.execute("SELECT source, told_up_to FROM lineage_positions")
            positions = dict(rows.fetchall())
        for asset in self.assets:
            if asset[1] in _LAKE:
                yield from self._commits(asset, positions)
            else:
                yield from self._loads(asset, positions)

    def _runs(self) -> Iterator[_Piece]:
        with self.services.database.connection() as connection:
            rows = connection.execute(
                "SELECT run_id, job_name, status, coalesce(started_at, created_at), ended_at,"
                " errors FROM pipeline_runs WHERE lineage_told_at IS NULL ORDER BY ended_at"
                " LIMIT %s",
                (self.at_once,),
            ).fetchall()
        for run_id, job, status, started_at, ended_at, errors in rows:
            messages = tuple(error["message"] for error in errors)
            run = Run(run_id, job, status, started_at, ended_at, messages)
            yield _Piece("run", run_events(self._namespace, run), _run_is_told(run_id))

    def _commits(self, asset: AssetKey, positions: Mapping[str, str]) -> Iterator[_Piece]:
        source = "/".join(asset)
        iceberg = self._iceberg(asset)
        if iceberg is None:
            return
        snapshots = list(iceberg.snapshots())
        told = positions.get(source)
        begin = next((n for n, s in enumerate(snapshots, 1) if str(s.snapshot_id) == told), 0)
        columns = [(one.name, str(one.field_type)) for one in iceberg.schema().fields]
        for snapshot in snapshots[begin:]:
            made = Publication.of(snapshot)
            is_content = STANDS_FOR not in made.properties
            work = self._commit(asset, made, columns) if is_content else None
            events = work_events(self._namespace, work) if work else []
            yield _Piece("commit", events, _position_is(source, str(made.snapshot_id)))

    def _commit(
        self, asset: AssetKey, made: Publication, columns: Sequence[tuple[str, str]]
    ) -> Work:
        inputs = inputs_of(made.properties)
        nouns = {one[2]: one for one in self.assets if one[0] == asset[0] and one[1] in _LAKE}
        read = [
            self._table(nouns[noun], str(snapshot))
            for noun, snapshot in inputs.snapshots.items()
            if noun in nouns
        ]
        if inputs.files:
            landing = _namespace_of(self.services.settings.raw_location)
            read.append(Dataset(landing, f"{asset[0]}/incoming", files=inputs.files))
        own = {
            "run": made.properties.get(RUN_ID),
            "partitions": json.loads(made.properties.get(PARTITIONS, "[]")),
            "codeVersion": made.properties.get("code_version"),
        }
        return Work(
            asset=".".join(asset),
            mark=str(made.snapshot_id),
            at=made.committed_at,
            output=self._table(asset, str(made.snapshot_id), columns),
            inputs=read,
            row_count=made.row_count,
            parent=self._parent(made.properties.get(RUN_ID)),
            properties={name: value for name, value in own.items() if value},
        )

    def _loads(self, asset: AssetKey, positions: Mapping[str, str]) -> Iterator[_Piece]:
        source = "/".join(asset)
        with self.services.database.connection() as connection:
            info = connection.info
            rows = connection.execute(
                "SELECT partition_key, served_at FROM served_loads WHERE pipeline = %s"
                " AND served_at > coalesce(%s::timestamptz, '-infinity')"
                " ORDER BY served_at LIMIT %s",
                (asset[0], positions.get(source), self.at_once),
            ).fetchall()
        served = Dataset(f"postgres://{info.host}:{info.port}", f"{info.dbname}.public.{asset[-1]}")
        read = [self._table(one) for one in self.assets[asset] if one[1] in _LAKE]
        for partition, at in rows:
            mark, own = f"{partition} {at.isoformat()}", {"partitions": [partition]}
            work = Work(".".join(asset), mark, at, served, read, properties=own)
            events = work_events(self._namespace, work)
            yield _Piece("load", events, _position_is(source, at.isoformat()))

    def _iceberg(self, asset: AssetKey) -> "Table | None":
        try:
            return self.services.lake.named((f"{asset[0]}_{asset[1]}", asset[2]))
        except NotFoundError:
            return None  # its metadata are gone, which `damaged_files` tells

    def _table(
        self,
        asset: AssetKey,
        version: str | None = None,
        columns: Sequence[tuple[str, str]] = (),
    ) -> Dataset:
        namespace = _namespace_of(self.services.settings.processed_location)
        return Dataset(namespace, f"{asset[0]}_{asset[1]}.{asset[2]}", version, columns)

    def _parent(self, run_id: str | None) -> tuple[str, str] | None:
        if run_id is None:
            return None
        if run_id not in self._jobs:
            self._jobs[run_id] = self.job_of(run_id)
        job = self._jobs[run_id]
        return None if job is None else (run_id, job)

    @property
    def _namespace(self) -> str:
        return f"pipeline-platform.{self.services.settings.environment}"


def _namespace_of(location: str) -> str:
    """Return a location as an address: a bucket's as it is, a folder's with `file://`."""
    return location if "://" in location else f"file://{location}"


def _run_is_told(run_id: str) -> Callable[[Any], object]:
    statement = "UPDATE pipeline_runs SET lineage_told_at = clock_timestamp() WHERE run_id = %s"
    return lambda connection: connection.execute(statement, (run_id,))


def _position_is(source: str, position: str) -> Callable[[Any], object]:
    statement = (
        "INSERT INTO lineage_positions (source, told_up_to) VALUES (%s, %s)"
        " ON CONFLICT (source) DO UPDATE"
        " SET told_up_to = excluded.told_up_to, told_at = clock_timestamp()"
    )
    return lambda connection: connection.execute(statement, (source, position))
