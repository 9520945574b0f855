"""Many small files of a partition made few sorted ones, with the same rows.

Plan, proof, apply: the plan is made from file sizes and column bounds alone; the rewritten files
are staged like any others and must hold exactly the rows of those that they replace; one commit
of the operation `replace` swaps them, on top of the very snapshot whose files were rewritten.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from pipeline_platform.failures import AuditFailedError, ConflictError, PermanentError
from pipeline_platform.lake import publications, reading
from pipeline_platform.lake.data_files import describe_file
from pipeline_platform.lake.engine import connect, sql_name
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.reading import PartitionValue
from pipeline_platform.lake.staging import Staged
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.progress import tracked
from pipeline_platform.runbook import CompactionLimits

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

MAINTENANCE = "maintenance"
MAINTENANCE_RUN = "maintenance_run_id"
"""Properties of a snapshot that changed no content: what was done (`compaction`), by which run."""

PARTITIONS_PER_COMMIT = 20
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Rewrite:
    """Files of one partition that are to become fewer, and why."""

    partition: PartitionValue
    paths: tuple[str, ...]
    size_bytes: int
    row_count: int
    reason: str


@dataclass(frozen=True)
class Checksum:
    """Content of a set of rows, whatever their order: two rows swapped for others show."""

    row_count: int
    hash_sum: int
    hash_xor: int


@dataclass
class Compacted:
    """What a compaction did to one partition; nothing was done when `skipped` says why."""

    rewrite: Rewrite
    files_after: int = 0
    bytes_after: int = 0
    checksum: Checksum | None = None
    skipped: str | None = None


@dataclass
class _Prepared:
    outcome: Compacted
    staged: Staged
    added: "list[DataFile]" = field(default_factory=list)


def plan_compaction(
    lake: Lake,
    table: LakeTable,
    limits: CompactionLimits,
    *,
    partitions: Collection[PartitionValue] | None = None,
) -> list[Rewrite]:
    """Return what a compaction would rewrite, by partition; all partitions unless some are given.

    A file counts when it is small, or when its range of the first sort column overlaps that of
    another and one of the two was not written by a compaction. Raises PermanentError for a table
    whose files hold more than its declaration says.
    """
    return _planned(table, lake.iceberg(table), limits, partitions)


def compact(
    lake: Lake,
    table: LakeTable,
    limits: CompactionLimits,
    *,
    run_id: str,
    partitions: Collection[PartitionValue] | None = None,
) -> list[Compacted]:
    """Rewrite what `plan_compaction` names; a few partitions make one commit.

    Readers see the same rows before, meanwhile and after. A partition that another run publishes
    in between is left as that run wants it and told as skipped, as are those of a commit that
    others always came before. Raises AuditFailedError, before
    anything is published, if the new files do not hold the rows of the old ones.
    """
    iceberg = lake.iceberg(table)
    plan = _planned(table, iceberg, limits, partitions)
    done: list[Compacted] = []
    for start in range(0, len(plan), PARTITIONS_PER_COMMIT):
        batch = plan[start : start + PARTITIONS_PER_COMMIT]
        prepared = [
            _rewrite(lake, table, rewrite, limits, run_id)
            for rewrite in tracked(batch, "partitions")
        ]
        _commit(lake, table, prepared, run_id)
        done += [one.outcome for one in prepared]
    return done


def content_checksum(con: duckdb.DuckDBPyConnection, query: str, table: LakeTable) -> Checksum:
    """Count and hash the rows of a query over a table's columns, whatever their order."""
    columns = ", ".join(sql_name(name) for name in table.schema.names)
    found: Any = con.execute(
        f"SELECT count(*), coalesce(sum(hash({columns})), 0), "
        f"coalesce(bit_xor(hash('again', {columns})), 0) FROM ({query})"
    ).fetchone()
    return Checksum(*map(int, found))


def _planned(
    table: LakeTable,
    iceberg: "Table",
    limits: CompactionLimits,
    partitions: Collection[PartitionValue] | None,
) -> list[Rewrite]:
    _require_declared(table, iceberg)
    groups: dict[PartitionValue, list[DataFile]] = defaultdict(list)
    for file in reading.live_files(iceberg):
        value = reading.partition_value(table, file.partition)
        if (partitions is None or value in partitions) and (
            table.partition_by is None or value is not None
        ):
            groups[value].append(file)
    plan = []
    for value, files in groups.items():
        small = {
            file.file_path
            for file in files
            if file.file_size_in_bytes < limits.small_file_mb * MEGABYTE
        }
        crossing = _overlapping(table, iceberg, files)
        chosen = [file for file in files if file.file_path in small | crossing]
        if len(chosen) < limits.min_files:
            continue
        plan.append(
            Rewrite(
                partition=value,
                paths=tuple(sorted(file.file_path for file in chosen)),
                size_bytes=sum(file.file_size_in_bytes for file in chosen),
                row_count=sum(file.record_count for file in chosen),
                reason=f"{len(small)} small files, {len(crossing)} that overlap in order",
            )
        )
    return sorted(plan, key=lambda one: (str(one.partition), one.paths))


def _require_declared(table: LakeTable, iceberg: "Table") -> None:
    """Refuse to rewrite what a rewrite would lose: undeclared columns, rows deleted by position."""
    from pyiceberg.manifest import ManifestContent  # noqa: PLC0415 - slow import

    beyond = {field.name for field in iceberg.schema().fields} - set(table.schema.names)
    if beyond:
        raise PermanentError(
            f"The table {table.name} has the columns {sorted(beyond)} beyond its declaration, "
            "which a compaction would lose; declare them, or remove them from the table."
        )
    snapshot = iceberg.current_snapshot()
    manifests = snapshot.manifests(iceberg.io) if snapshot else []
    if any(manifest.content == ManifestContent.DELETES for manifest in manifests):
        raise PermanentError(
            f"Another engine wrote delete files to {table.name}, which the platform does not read; "
            "let that engine compact the table first."
        )


def _overlapping(table: LakeTable, iceberg: "Table", files: "Sequence[DataFile]") -> set[str]:
    """Return the files whose first sort column overlaps another's, unless both are compacted."""
    from pyiceberg.conversions import from_bytes  # noqa: PLC0415 - slow import
    from pyiceberg.types import PrimitiveType  # noqa: PLC0415

    if not table.sort_by:
        return set()
    column = iceberg.schema().find_field(table.sort_by[0])
    if not isinstance(column.field_type, PrimitiveType):
        return set()
    ranges: list[tuple[Any, Any, DataFile]] = []
    for file in files:
        lower = file.lower_bounds.get(column.field_id)
        upper = file.upper_bounds.get(column.field_id)
        if lower is not None and upper is not None:
            kind = column.field_type
            ranges.append((from_bytes(kind, lower), from_bytes(kind, upper), file))
    ranges.sort(key=lambda one: one[:2])
    found: set[str] = set()
    reach: tuple[Any, Any, DataFile] | None = None
    for one in ranges:
        if reach is not None and one[0] < reach[1]:
            pair = (one[2], reach[2])
            if any(file.sort_order_id is None for file in pair):
                found |= {file.file_path for file in pair}
        if reach is None or one[1] > reach[1]:
            reach = one
    return found


def _rewrite(
    lake: Lake, table: LakeTable, rewrite: Rewrite, limits: CompactionLimits, run_id: str
) -> _Prepared:
    """Stage the rows of some files anew and prove that they are the same."""
    iceberg = lake.iceberg(table)
    source = reading.select_files(table, rewrite.paths, mixed=len(iceberg.schemas()) > 1)
    partition = "all" if rewrite.partition is None else str(rewrite.partition)
    # One thread: only then are the rows of files that are split by size in order.
    with connect(lake.settings, threads=1) as con:
        before = content_checksum(con, source, table)
        staged = lake.stage(
            table,
            con.sql(source),
            run_id=run_id,
            partition=partition,
            file_bytes=limits.target_file_mb * MEGABYTE,
        )
        rewritten = reading.select_files(table, staged.files, mixed=False)
        after = content_checksum(con, rewritten, table)
    if before != after or before.row_count != rewrite.row_count:
        lake.discard(staged)
        raise AuditFailedError(
            f"The rewritten files of {table.name} {partition} hold {after}, but those that they "
            f"replace {before} of {rewrite.row_count} rows; nothing was changed."
        )
    order = iceberg.sort_order().order_id
    added = [describe_file(iceberg, table, path, sort_order_id=order) for path in staged.files]
    outcome = Compacted(
        rewrite, len(added), sum(file.file_size_in_bytes for file in added), checksum=after
    )
    return _Prepared(outcome, staged, added)


def _commit(lake: Lake, table: LakeTable, prepared: "Sequence[_Prepared]", run_id: str) -> None:
    """Swap the files of all partitions that nobody has changed meanwhile."""

    def attempt(fresh: "Table") -> list[_Prepared]:
        live = {file.file_path: file for file in reading.live_files(fresh)}
        current = fresh.current_snapshot()
        unchanged = [one for one in prepared if live.keys() >= set(one.outcome.rewrite.paths)]
        if unchanged and current is not None:
            publications.commit_files(
                fresh,
                removed=[live[path] for one in unchanged for path in one.outcome.rewrite.paths],
                added=[file for one in unchanged for file in one.added],
                properties=Publication.of(current).carried(
                    {MAINTENANCE: "compaction", MAINTENANCE_RUN: run_id}
                ),
                keeps_content=True,
            )
        return unchanged

    why = "another run published this partition meanwhile"
    try:
        swapped = lake.commit(table, attempt, run_id=run_id)
    except ConflictError:
        swapped, why = [], "other runs published to the table without a pause"
    for one in prepared:
        if one not in swapped:
            lake.discard(one.staged)
            one.outcome.skipped = why
            one.outcome.files_after, one.outcome.bytes_after = 0, 0
