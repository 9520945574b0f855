"""The lake: Iceberg tables that are written by stage, audit, publish, and read by snapshot.

Files that are staged lie where they will stay, but no snapshot names them, so nobody reads them.
Publishing is one commit. A run can be killed at any instruction and started again.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar, get_args

import duckdb
import pyarrow as pa

from pipeline_platform.failures import AuditFailedError, ConflictError, NotFoundError
from pipeline_platform.lake import publications, reading
from pipeline_platform.lake.catalog import catalog_failures
from pipeline_platform.lake.data_files import begin_to_disk, describe_file
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.iceberg_tables import IcebergTables
from pipeline_platform.lake.partition_states import PartitionState, partition_states
from pipeline_platform.lake.publications import PropertyChange, Publication
from pipeline_platform.lake.staging import (
    Staged,
    common_table_and_run,
    is_value,
    move_files,
    write_rows,
)
from pipeline_platform.lake.streamed_files import StreamedFiles, WaitingRows
from pipeline_platform.lake.tables import LakeTable, Layer
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.1
Rows: TypeAlias = duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader
Outcome = TypeVar("Outcome")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartitionSize:
    """What the live data files of a partition hold."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class TableSize:
    """What the live data files of a table hold, and how many there are."""

    rows: int
    bytes: int
    files: int


class Lake:
    """All tables of the platform, in one catalog and one location."""

    def __init__(self, settings: Settings, tables: IcebergTables) -> None:
        self.settings = settings
        self._tables = tables

    @classmethod
    def open(cls, settings: Settings, database_url: str) -> Self:
        """Return the lake of the settings; the catalog is connected to on first use.

        `database_url` is the platform's PostgreSQL, beside which the SQL catalog lives.
        """
        return cls(settings, IcebergTables(settings, database_url))

    @property
    def catalog(self) -> "Catalog":
        """The PyIceberg catalog, for maintenance; UnavailableError if it does not answer."""
        return self._tables.catalog

    def close(self) -> None:
        """Give the catalog's connections back; the lake can still be used and opens new ones."""
        self._tables.close()

    def ensure(self, table: LakeTable) -> None:
        """Create the table, or add nullable columns that its declaration has gained.

        Raises PermanentError for a declaration that needs a migration.
        """
        self._tables.ensure(table)

    def exists(self, table: LakeTable) -> bool:
        """Tell whether the table has been created."""
        return self._tables.find(table) is not None

    def iceberg(self, table: LakeTable) -> "Table":
        """Return PyIceberg's table with fresh metadata, for maintenance; NotFoundError without."""
        with catalog_failures():
            return self._tables.get(table)

    def named(self, identifier: tuple[str, str]) -> "Table | None":
        """Return a table of which only namespace and name are known; None if there is none.

        Raises NotFoundError when the catalog names it but its metadata are gone.
        """
        return self._tables.named(identifier)

    def commit(
        self,
        table: LakeTable,
        attempt: "Callable[[Table], Outcome]",
        *,
        run_id: str,
        first: "Table | None" = None,
    ) -> Outcome:
        """Return what `attempt` returns, called with fresh metadata until no other commit is first.

        It decides from the metadata that it is given and commits on top of exactly these. `first`
        are metadata that were just read. Writers take turns where the catalog allows it, so that
        conflicts are with those who take none. Raises ConflictError after five more attempts.
        """
        from pyiceberg.exceptions import CommitFailedException, ValidationException  # noqa: PLC0415

        with self._tables.turn_to_commit(table) as was_free:
            fresh = first if first is not None and was_free else self._tables.get(table)
            for number in range(1, ATTEMPTS + 1):
                try:
                    with catalog_failures():
                        return attempt(fresh)
                except (CommitFailedException, ValidationException):
                    _log.info("Another commit to %s came first (attempt %s)", table.name, number)
                if number < ATTEMPTS:
                    _wait(number)
                    fresh = self._tables.get(table)
        raise ConflictError(
            f"The table {table.name} was changed by others {ATTEMPTS} times while run {run_id} "
            "wanted to publish; run it again."
        )

    def stage(
        self,
        table: LakeTable,
        source: Rows,
        *,
        run_id: str,
        partition: str,
        file_bytes: int | None = None,
    ) -> Staged:
        """Write rows to data files that no snapshot names; the table is created if missing.

        `partition` is a key for people and repetition. If it is a value of the partition column
        (`2026-10-01`), all rows must have that value; with any other key (such as a file's hash)
        rows are split into files by the partition column. Columns are cast to the declared types;
        decimals are rounded half away from zero. `file_bytes` splits the sorted rows of one value
        into files of about that size, which needs a connection of one thread. Raises
        AuditFailedError if the rows can't be rows of the table. What a killed stage has written is
        never named by a snapshot.

        A reader's batches are written as they come, in bounded memory and in their own order.
        """
        if isinstance(source, pa.RecordBatchReader):
            share = self.settings.files_at_once
            with self.streams(table, run_id=run_id, partition=partition, share=share) as (stream,):
                for batch in source:
                    stream.write(batch)
            return self.stage_stream(stream)
        if not isinstance(source, duckdb.DuckDBPyRelation):
            with connect(self.settings) as con:
                rows = con.from_arrow(source)
                return self.stage(
                    table, rows, run_id=run_id, partition=partition, file_bytes=file_bytes
                )
        iceberg = self._tables.ensure(table)
        paths = write_rows(
            table,
            source,
            location=iceberg.location(),
            run_id=run_id,
            partition=partition,
            file_bytes=file_bytes,
        )
        return self._staged(iceberg, table, paths, run_id=run_id, partition=partition)

    @contextmanager
    def streams(
        self, *tables: LakeTable, run_id: str, partition: str, share: int = 1
    ) -> Iterator[tuple[StreamedFiles, ...]]:
        """Open files for rows that come bit by bit, for each table; it is created if missing.

        What was written is given to `stage_stream` after the `with` block. As for `stage`,
        `partition` is a key, and rows that can't be rows of the table raise AuditFailedError.
        `share` is how many such groups of files may be written at once.
        """
        waiting = WaitingRows(self.settings.waiting_bytes // share)
        with ExitStack() as opened:
            yield tuple(
                opened.enter_context(
                    StreamedFiles(
                        table,
                        iceberg.io,
                        location=iceberg.location(),
                        run_id=run_id,
                        partition=partition,
                        waiting=waiting,
                    )
                )
                for table, iceberg in [(one, self._tables.ensure(one)) for one in tables]
            )

    def stage_stream(self, stream: StreamedFiles) -> Staged:
        """Return what was written to a stream as staged."""
        stream.close()
        return self._staged(
            self._tables.ensure(stream.table),
            stream.table,
            stream.paths,
            run_id=stream.run_id,
            partition=stream.partition,
        )

    def adopt(
        self, table: LakeTable, paths: Sequence[str], *, run_id: str, partition: str
    ) -> Staged:
        """Take Parquet files that another engine wrote as staged, by moving them to the table.

        They must have exactly the declared columns and types, and one partition value each, or
        AuditFailedError is raised. NotFoundError if one is not there.
        """
        iceberg = self._tables.ensure(table)
        moved = move_files(
            iceberg.io, paths, location=iceberg.location(), run_id=run_id, partition=partition
        )
        return self._staged(iceberg, table, moved, run_id=run_id, partition=partition)

    def staged_relation(
        self, con: duckdb.DuckDBPyConnection, staged: Staged
    ) -> duckdb.DuckDBPyRelation:
        """Return the staged rows, for the audit."""
        return con.sql(reading.select_files(staged.table, staged.files, mixed=False))

    def publish(
        self,
        stageds: Staged | Sequence[Staged],
        *,
        replace: str | None,
        properties: Mapping[str, str],
        change: PropertyChange | None = None,
    ) -> Publication:
        """Make staged rows of one table and run visible in one commit, with `properties`.

        `replace` is a filter such as `as_of_month == '2026-10-01'` whose rows the staged ones
        take the place of (with nothing staged they just go); None appends. An append whose run
        and partitions were published before is not repeated: its new files are discarded and the
        earlier publication is returned; a replacement is repeated, as it has the same result. Of
        a file that a compaction made, the rows that don't match are written anew.
        A concurrent commit is met by starting anew from fresh metadata; ConflictError after five
        more attempts. `change` sets a property of the table in the same commit; ConflictError at
        once, with nothing published, if it is no longer what the change starts from. Raises
        AuditFailedError if whole files can't be replaced, or a staged file is not what its table
        declares; NotFoundError if one is gone.
        """
        batch = [stageds] if isinstance(stageds, Staged) else list(stageds)
        table, run_id = common_table_and_run(batch)
        marks = publications.snapshot_properties(
            run_id, [staged.partition for staged in batch], properties
        )
        paths = [path for staged in batch for path in staged.files]
        iceberg = self._tables.ensure(table)
        added = [describe_file(iceberg, table, path) for path in paths]

        def attempt(fresh: "Table") -> Publication:
            earlier = publications.find_publication(fresh, marks) if replace is None else None
            if earlier is not None and (change is None or change.is_done(fresh.properties)):
                for staged in batch:
                    self.discard(staged)
                return earlier
            if change is not None and not change.fits(fresh.properties):
                raise ConflictError(
                    f"Another run has changed {change.name} of {table.name} since run {run_id} "
                    "read it, so nothing was published; start again from its present value."
                )
            if replace is None:
                return publications.commit_files(
                    fresh, removed=[], added=added, properties=marks, change=change
                )
            removed, shared = publications.files_to_replace(fresh, replace)
            if {file.file_path for file in removed} & set(paths):
                published = publications.find_publication(fresh, marks)
                if published is not None:
                    return published
            rest = self._rest(table, fresh, shared, replace, run_id)
            counted = {publications.PUBLISHED_ROWS: str(sum(one.row_count for one in batch))}
            return publications.commit_files(
                fresh,
                removed=[*removed, *(file for file, _ in rest)],
                added=[*added, *(file for _, files in rest for file in files)],
                properties={**marks, **(counted if rest else {})},
                change=change,
            )

        return self.commit(table, attempt, run_id=run_id, first=iceberg)

    def discard(self, staged: Staged) -> None:
        """Delete staged files; those that a snapshot names are kept."""
        iceberg = self._tables.get(staged.table)
        doomed = set(staged.files) - reading.remembered_files(iceberg)
        for path in doomed:
            try:
                iceberg.io.delete(path)
            except FileNotFoundError:
                continue

    def files(
        self,
        table: LakeTable,
        *,
        where: Mapping[str, reading.Value | reading.Range] | None = None,
        snapshot_id: int | None = None,
    ) -> list[str]:
        """Return the paths of a snapshot's data files, pruned by partition and column bounds.

        `where` gives a value, or first and last (inclusive, None = open), by column. A table that
        does not exist has no files. Raises NotFoundError for an unknown snapshot.
        """
        iceberg = self._tables.find(table) if snapshot_id is None else self._tables.get(table)
        if iceberg is None:
            return []
        with catalog_failures():
            files = reading.live_files(iceberg, where=where, snapshot_id=snapshot_id)
        return [file.file_path for file in files]

    def relation(
        self,
        con: duckdb.DuckDBPyConnection,
        table: LakeTable,
        *,
        months: tuple[date, date] | None = None,
        snapshot_id: int | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """Return the rows of a snapshot (the current one by default) with the declared columns.

        `months` is the first and last value, inclusive, of the partition column; only their files
        are opened. Without data, or a table, the relation is empty.
        """
        return con.sql(self.pin(table, months=months, snapshot_id=snapshot_id).query)

    def pin(
        self,
        table: LakeTable,
        *,
        months: tuple[date, date] | None = None,
        snapshot_id: int | None = None,
    ) -> reading.Pinned:
        """Return the query that reads one snapshot, for an engine that has no catalog.

        The arguments are those of `relation`. Raises PermanentError when an unpartitioned table
        is asked for months, NotFoundError for an unknown snapshot.
        """
        iceberg = self._tables.find(table) if snapshot_id is None else self._tables.get(table)
        return reading.pin(iceberg, table, months=months, snapshot_id=snapshot_id)

    def snapshots(self, table: LakeTable) -> list[Publication]:
        """Return all remembered publications, oldest first."""
        iceberg = self._tables.find(table)
        return [Publication.of(snapshot) for snapshot in iceberg.snapshots()] if iceberg else []

    def last_publication(self, table: LakeTable) -> Publication | None:
        """Return the publication that readers see now, None before the first."""
        iceberg = self._tables.find(table)
        snapshot = iceberg.current_snapshot() if iceberg else None
        return Publication.of(snapshot) if snapshot else None

    def writers(self, table: LakeTable, partition: reading.PartitionValue) -> list[Publication]:
        """Return the remembered publications that added a partition's files, oldest first."""
        iceberg = self._tables.find(table)
        if iceberg is None:
            return []
        wanted = reading.adding_snapshots(iceberg, partition)
        return [one for one in self.snapshots(table) if one.snapshot_id in wanted]

    def property(self, table: LakeTable, name: str) -> str | None:
        """Return what the table's property is in its current metadata; None without either."""
        iceberg = self._tables.find(table)
        return None if iceberg is None else iceberg.properties.get(name)

    def partitions(self, table: LakeTable) -> dict[reading.PartitionValue, int]:
        """Return the row count of each partition value; an unpartitioned table has None only."""
        return self.row_counts(table.identifier)

    def row_counts(self, identifier: tuple[str, str]) -> dict[reading.PartitionValue, int]:
        """Return the same of a table of which only namespace and name are known."""
        iceberg = self._tables.named(identifier)
        counts: Counter[reading.PartitionValue] = Counter()
        if iceberg is None:
            return {}
        for file in reading.live_files(iceberg):
            counts[reading.stored_partition_value(iceberg, file.partition)] += file.record_count
        return dict(counts)

    def partition_sizes(self, table: LakeTable) -> dict[reading.PartitionValue, PartitionSize]:
        """Return the rows and bytes that the live files of each partition value hold."""
        iceberg = self._tables.find(table)
        sizes: dict[reading.PartitionValue, PartitionSize] = {}
        for file in reading.live_files(iceberg) if iceberg else []:
            value = reading.partition_value(table, file.partition)
            before = sizes.get(value, PartitionSize(0, 0))
            sizes[value] = PartitionSize(
                before.rows + file.record_count, before.bytes + file.file_size_in_bytes
            )
        return sizes

    def namespaces(self) -> list[str]:
        """Return the namespaces of the catalog; UnavailableError if it does not answer."""
        catalog = self.catalog
        with catalog_failures():
            return sorted(".".join(one) for one in catalog.list_namespaces())

    def tables(self, pipeline: str) -> list[LakeTable]:
        """Return a pipeline's tables as the catalog knows them, for who has no declaration."""
        from pipeline_platform.lake.table_definitions import stored_table  # noqa: PLC0415

        catalog = self.catalog
        with catalog_failures():
            known = {".".join(one) for one in catalog.list_namespaces()}
            return [
                stored_table(pipeline, layer, catalog.load_table(identifier))
                for layer in get_args(Layer)
                if f"{pipeline}_{layer}" in known
                for identifier in sorted(catalog.list_tables(f"{pipeline}_{layer}"))
            ]

    def table_sizes(self) -> dict[str, TableSize]:
        """Return rows, bytes and files of every table's current state, as its snapshot says."""
        catalog = self.catalog
        sizes: dict[str, TableSize] = {}
        with catalog_failures():
            for namespace in catalog.list_namespaces():
                for identifier in catalog.list_tables(namespace):
                    snapshot = catalog.load_table(identifier).current_snapshot()
                    said = snapshot.summary if snapshot is not None else None
                    names = ("total-records", "total-files-size", "total-data-files")
                    totals = [int(said[name] or 0) if said else 0 for name in names]
                    sizes[".".join(identifier)] = TableSize(*totals)
        return sizes

    def file_counts(self, table: LakeTable, *, snapshot_id: int | None = None) -> dict[date, int]:
        """Return the number of data files in each date that the table is partitioned by."""
        iceberg = self._tables.find(table)
        files = reading.live_files(iceberg, snapshot_id=snapshot_id) if iceberg else []
        values = (reading.partition_value(table, file.partition) for file in files)
        return dict(Counter(value for value in values if isinstance(value, date)))

    def partition_states(self, table: LakeTable) -> list[PartitionState]:
        """Look at each file of the current snapshot; NotFoundError if there is no such table."""
        with catalog_failures():
            return partition_states(self._tables.get(table), table)

    def has_statistics(self, table: LakeTable) -> bool:
        """Tell whether the current snapshot has its statistics; an empty table needs none."""
        iceberg = self._tables.get(table)
        snapshot = iceberg.current_snapshot()
        known = {one.snapshot_id for one in iceberg.metadata.statistics}
        return snapshot is None or snapshot.snapshot_id in known

    def update_statistics(
        self, table: LakeTable, columns: Sequence[str] | None = None
    ) -> dict[str, int]:
        """Count the different values of columns and keep that with the current snapshot.

        Returns the counts by column, estimates above 4096. By default of all columns but those of
        decimals and doubles. Memory is bounded by the settings. What others publish meanwhile
        changes nothing: statistics are of their snapshot. Raises NotFoundError without a table or
        column, ConflictError if the snapshot expired meanwhile.
        """
        from pipeline_platform.lake import statistics  # noqa: PLC0415

        chosen = statistics.counted_columns(table) if columns is None else list(columns)
        unknown = sorted(set(chosen) - set(table.schema.names))
        if unknown:
            raise NotFoundError(f"The table {table.name} has no column {unknown[0]!r}.")
        iceberg = self._tables.get(table)
        snapshot = iceberg.current_snapshot()
        if snapshot is None:
            return {}
        with connect(self.settings) as con:
            rows = self.relation(con, table, snapshot_id=snapshot.snapshot_id)
            sketches = statistics.column_sketches(iceberg, rows, chosen)
        written = statistics.write_statistics(iceberg, snapshot, sketches)

        def attempt(fresh: "Table") -> None:
            if fresh.snapshot_by_id(snapshot.snapshot_id) is None:
                raise ConflictError(
                    f"The snapshot {snapshot.snapshot_id} of {table.name} expired while its "
                    "statistics were written; run it again."
                )
            with fresh.update_statistics() as update:
                update.set_statistics(written)

        self.commit(table, attempt, run_id=f"statistics of {snapshot.snapshot_id}")
        return {
            iceberg.schema().find_column_name(field) or "": sketch.distinct_count
            for field, sketch in sketches.items()
        }

    def _staged(
        self,
        iceberg: "Table",
        table: LakeTable,
        paths: Sequence[str],
        *,
        run_id: str,
        partition: str,
    ) -> Staged:
        begin_to_disk(paths)
        described = [describe_file(iceberg, table, path, is_on_disk=False) for path in paths]
        filled = [file for file in described if file.record_count]
        counts: Counter[reading.PartitionValue] = Counter()
        for file in filled:
            value = reading.partition_value(table, file.partition)
            counts[value] += file.record_count
            if is_value(table, partition) and value != date.fromisoformat(partition):
                raise AuditFailedError(
                    f"Rows for the partition {partition} of {table.name} have {value} as "
                    f"{table.partition_by}; stage them under a key that is no date."
                )
        for file in described:
            if not file.record_count:
                iceberg.io.delete(file.file_path)
        return Staged(
            table=table,
            files=tuple(file.file_path for file in filled),
            row_count=sum(file.record_count for file in filled),
            run_id=run_id,
            partition=partition,
            rows_by_partition=dict(counts),
        )

    def _rest(
        self,
        table: LakeTable,
        fresh: "Table",
        shared: "Sequence[DataFile]",
        replace: str,
        run_id: str,
    ) -> "list[tuple[DataFile, list[DataFile]]]":
        """Return the compacted files that do hold rows to replace, with their other rows anew."""
        if not shared:
            return []
        rest = []
        mixed = len(fresh.schemas()) > 1
        with connect(self.settings, threads=1) as con:
            for file in shared:
                query = reading.select_files(table, [file.file_path], mixed=mixed)
                matching = con.sql(f"FROM ({query}) WHERE {replace}").aggregate("count(*)")
                (count,) = matching.fetchone() or (0,)
                if not count:
                    continue
                staged = self.stage(
                    table,
                    con.sql(f"FROM ({query}) WHERE ({replace}) IS NOT TRUE"),
                    run_id=run_id,
                    partition=str(reading.partition_value(table, file.partition) or "all"),
                )
                if staged.row_count + count != file.record_count:
                    raise AuditFailedError(
                        f"Of the {file.record_count} rows of {file.file_path}, {count} match "
                        f"{replace} and {staged.row_count} do not; nothing was published."
                    )
                order = file.sort_order_id
                described = [
                    describe_file(fresh, table, path, sort_order_id=order) for path in staged.files
                ]
                rest.append((file, described))
        return rest


def _wait(attempt: int) -> None:
    longest = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
    time.sleep(longest * (500 + secrets.randbelow(500)) / 1000)
