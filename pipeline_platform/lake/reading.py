"""Rows of a snapshot as a DuckDB relation, from only the files that can hold them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.engine import sql_name, sql_text
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.typedef import Record

Value: TypeAlias = str | int | date
Range: TypeAlias = tuple[Value | None, Value | None]
PartitionValue: TypeAlias = Value | None


@dataclass(frozen=True)
class Pinned:
    """One snapshot (None before the first commit): a DuckDB query, and what it reads at most."""

    snapshot_id: int | None
    query: str
    files: tuple[str, ...] = ()
    row_count: int = 0
    size_bytes: int = 0


def pin(
    iceberg: "Table | None",
    table: LakeTable,
    *,
    months: tuple[date, date] | None,
    snapshot_id: int | None,
) -> Pinned:
    """Return the query that reads a snapshot, by default the current one; see `Lake.pin`."""
    if months is not None and table.partition_by is None:
        raise PermanentError(
            f"The table {table.name} is not partitioned, so it can't be read by months; "
            "filter its relation instead."
        )
    if iceberg is None:
        return Pinned(None, select_files(table, [], mixed=False))
    current = iceberg.current_snapshot()
    seen = snapshot_id or (current.snapshot_id if current else None)
    where = {str(table.partition_by): months} if months else None
    files = live_files(iceberg, where=where, snapshot_id=seen)
    paths = [file.file_path for file in files]
    query = select_files(table, paths, mixed=len(iceberg.schemas()) > 1)
    return Pinned(
        seen,
        query,
        tuple(paths),
        sum(file.record_count for file in files),
        sum(file.file_size_in_bytes for file in files),
    )


def live_files(
    table: "Table",
    *,
    where: Mapping[str, Value | Range] | None = None,
    snapshot_id: int | None = None,
) -> "list[DataFile]":
    """Return the data files of a snapshot (the current one by default) that may match.

    `where` gives for a column a value, or the first and last of a range (None = open); all must
    hold. Files are left out by their partition and column bounds. Raises NotFoundError for a
    snapshot that the table does not (or no longer) have.
    """
    if snapshot_id is not None and table.snapshot_by_id(snapshot_id) is None:
        raise NotFoundError(
            f"The table {'.'.join(table.name())} has no snapshot {snapshot_id}; it may have "
            "expired. See `Lake.snapshots`."
        )
    scan = table.scan(row_filter=_condition(where or {}), snapshot_id=snapshot_id)
    return [task.file for task in scan.plan_files()]


def adding_snapshots(table: "Table", partition: PartitionValue) -> set[int]:
    """Return the snapshots that added the current files of a partition; none if it has none."""
    current = table.current_snapshot()
    return {
        entry.snapshot_id
        for manifest in (current.manifests(table.io) if current else [])
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if stored_partition_value(table, entry.data_file.partition) == partition
        and entry.snapshot_id is not None
    }


def remembered_files(table: "Table") -> set[str]:
    """Return the paths of all data files that any remembered snapshot names."""
    manifests = {
        manifest.manifest_path: manifest
        for snapshot in table.snapshots()
        for manifest in snapshot.manifests(table.io)
    }
    return {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
    }


def select_files(table: LakeTable, files: Sequence[str], *, mixed: bool) -> str:
    """Return the SQL query that reads Parquet files with exactly the declared columns.

    `mixed` says that older files may lack columns, which then are null. Without files the result
    is empty but has the right columns.
    """
    empty = "SELECT {} WHERE false".format(
        ", ".join(
            f"CAST(NULL AS {duckdb_type(column)}) AS {sql_name(column.name)}"
            for column in table.schema
        )
    )
    if not files:
        return empty
    columns = ", ".join(sql_name(name) for name in table.schema.names)
    paths = ", ".join(sql_text(path) for path in files)
    source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = {mixed})"
    if mixed:
        source = f"(FROM {source} UNION ALL BY NAME {empty})"
    return f"SELECT {columns} FROM {source}"


def partition_value(table: LakeTable, partition: "Record") -> PartitionValue:
    """Return the value of a data file's partition, None for an unpartitioned table."""
    if table.partition_by is None:
        return None
    value: PartitionValue = partition[0]
    if isinstance(value, int) and pa.types.is_date(table.schema.field(table.partition_by).type):
        return date(1970, 1, 1) + timedelta(days=value)
    return value


def stored_partition_value(iceberg: "Table", partition: "Record") -> PartitionValue:
    """Return the value of a data file's partition as the stored table itself types it."""
    fields = iceberg.spec().fields
    if not fields:
        return None
    value: PartitionValue = partition[0]
    is_date = str(iceberg.schema().find_type(fields[0].source_id)) == "date"
    return date(1970, 1, 1) + timedelta(days=value) if is_date and isinstance(value, int) else value


def _condition(where: Mapping[str, Value | Range]) -> "BooleanExpression":
    """Return the filter as expressions: what parses a text keeps all callers' frames for a while.

    They hold a piece's rows (measured: a gigabyte of them before Python's collector came by).
    """
    from pyiceberg import expressions  # noqa: PLC0415 - slow import

    parts: list[tuple[Callable[..., BooleanExpression], str, Value]] = []
    for column, wanted in where.items():
        if not isinstance(wanted, tuple):
            parts.append((expressions.EqualTo, column, wanted))
            continue
        first, last = wanted
        parts += [(expressions.GreaterThanOrEqual, column, first)] if first is not None else []
        parts += [(expressions.LessThanOrEqual, column, last)] if last is not None else []
    both: Callable[..., BooleanExpression] = expressions.And
    everything: BooleanExpression = expressions.AlwaysTrue()
    predicates = (kind(column, _literal(value)) for kind, column, value in parts)
    return reduce(both, predicates, everything)


def _literal(value: Value) -> str | int:
    return value if isinstance(value, int) else str(value)
