"""One partition made again what it was: from an earlier snapshot, an export, or a backup.

All are one atomic commit, like any publication. Nothing is restored by copying files below a
table: a file counts only once a snapshot names it (D-10).
"""

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import AuditFailedError, NotFoundError, PermanentError
from pipeline_platform.lake import publications, reading
from pipeline_platform.lake.backup import Backup, spooled_file
from pipeline_platform.lake.compaction import MAINTENANCE, MAINTENANCE_RUN
from pipeline_platform.lake.data_files import describe_file
from pipeline_platform.lake.dbt_runs import INPUTS
from pipeline_platform.lake.engine import connect, enable_s3, is_remote
from pipeline_platform.lake.export import ExportedFile, TableExport, copy_files, lost_files
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import (
    PARTITIONS,
    RESTORED_FROM,
    RUN_ID,
    STANDS_FOR,
    UNDOES,
    Publication,
)
from pipeline_platform.lake.staging import file_name_part, staging_location
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.progress import tracked

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

_OF_ONE_RUN = {
    *(RUN_ID, PARTITIONS, STANDS_FOR, UNDOES, INPUTS, "code_version"),
    *(MAINTENANCE, MAINTENANCE_RUN),
}


@dataclass(frozen=True)
class Difference:
    """Rows before and after a restoration; those of one side only count as often as they occur."""

    rows_now: int
    rows_after: int
    rows_lost: int
    rows_regained: int


def compare_with_snapshot(
    lake: Lake, table: LakeTable, *, partition: date | None, snapshot_id: int
) -> Difference:
    """Say what restoring a snapshot would change; nothing is changed.

    Raises NotFoundError for an unknown snapshot or a file of it that is gone.
    """
    iceberg = lake.iceberg(table)
    now, then = _files(table, iceberg, partition), _files(table, iceberg, partition, snapshot_id)
    require_files(iceberg, [file for path, file in then.items() if path not in now])
    mixed = len(iceberg.schemas()) > 1
    return difference(lake, table, sorted(now), sorted(then), mixed=mixed)


def restore_from_snapshot(
    lake: Lake, table: LakeTable, *, partition: date | None, snapshot_id: int, run_id: str
) -> Publication | None:
    """Make a partition (None: the whole table) hold the files that it held in a snapshot.

    The files are named anew, not copied. None says that the partition already holds them. A
    concurrent publication is met by comparing anew. Raises NotFoundError, before anything is
    changed, for a snapshot that is not remembered or a file that is gone.
    """

    def then(fresh: "Table") -> "dict[str, DataFile]":
        return _files(table, fresh, partition, snapshot_id)

    origin = (f"snapshot {snapshot_id}", snapshot_id)
    return _name_anew(lake, table, then, partition, origin, run_id)


def compare_with_export(
    lake: Lake, table: LakeTable, export: TableExport, store: ObjectStore, *, partition: date | None
) -> Difference:
    """Say what restoring an export would change; nothing is changed.

    Raises PermanentError if an exported file is not what it was, NotFoundError without rows.
    """
    chosen = _exported(lake, table, export, store, partition)
    lost = lost_files(lake, table.identifier)
    if lost:
        raise NotFoundError(
            f"{table.name} has lost {len(lost)} files of its present snapshot, such as {lost[0]}; "
            "`pipeline-platform recover` puts them back first."
        )
    for file in _kept(export, chosen):
        file.verify(store)
    now = sorted(_files(table, lake.iceberg(table), partition))
    then = [f"{store.location}/{file.key}" for file in _kept(export, chosen)]
    return difference(lake, table, now, then, mixed=True)


def restore_from_export(
    lake: Lake,
    table: LakeTable,
    export: TableExport,
    store: ObjectStore,
    *,
    partition: date | None,
    run_id: str,
) -> Publication | None:
    """Make a partition (None: the whole table) hold the files that it held when it was exported.

    Those that are gone or damaged are put back where they were first. None says that the table
    names them already. The errors are those of `compare_with_export`.
    """
    chosen = _exported(lake, table, export, store, partition)
    copy_files(lake, export, store, export.location, _kept(export, chosen))
    origin = (f"export of snapshot {export.snapshot_id}", export.snapshot_id or 0)
    return _name_anew(lake, table, lambda _: chosen, partition, origin, run_id)


def _name_anew(
    lake: Lake,
    table: LakeTable,
    then_of: "Callable[[Table], dict[str, DataFile]]",
    partition: date | None,
    origin: tuple[str, int],
    run_id: str,
) -> Publication | None:
    """Commit that a partition holds these files; None if it does already."""

    def attempt(fresh: "Table") -> Publication | None:
        now, then = _files(table, fresh, partition), then_of(fresh)
        added = [file for path, file in then.items() if path not in now]
        removed = [file for path, file in now.items() if path not in then]
        if not added and not removed:
            return None
        require_files(fresh, added)
        return publications.commit_files(
            fresh,
            removed=removed,
            added=added,
            properties=_marks(table, fresh, partition, *origin, run_id),
        )

    return lake.commit(table, attempt, run_id=run_id)


def _exported(
    lake: Lake, table: LakeTable, export: TableExport, store: ObjectStore, partition: date | None
) -> "dict[str, DataFile]":
    """Return the exported files of a partition, where the table still lies where it lay."""
    from pipeline_platform.lake.rebuilding import exported_data_files  # noqa: PLC0415 - slow

    if table.identifier != export.identifier or lake.iceberg(table).location() != export.location:
        raise PermanentError(
            f"The export is one of {export.name} at {export.location}, where {table.name} is not; "
            "`pipeline-platform restore --all` makes whole tables of a backup, anywhere."
        )
    if partition is not None and table.partition_by is None:
        raise PermanentError(f"The table {table.name} is not partitioned; leave --partition out.")
    found = {
        path: file
        for path, file in exported_data_files(lake, export, store).items()
        if partition in (None, reading.partition_value(table, file.partition))
    }
    if partition is not None and not found:
        raise NotFoundError(f"The backup has no rows of {partition}; use another backup.")
    return found


def _kept(export: TableExport, files: Collection[str]) -> list[ExportedFile]:
    return [one for one in export.data_files if f"{export.location}/{one.path}" in files]


def compare_with_backup(
    lake: Lake, table: LakeTable, backup: Backup, *, partition: date | None
) -> Difference:
    """Say what restoring a backup would change, once its files are verified; nothing is changed.

    The errors are those of `restore_from_backup`.
    """
    backup.require_fit(table)
    chosen = backup.files_of(partition)
    backup.verify(lake.settings, partition)
    now = sorted(_files(table, lake.iceberg(table), partition)) if lake.exists(table) else []
    then = [f"{backup.location}/{file.key}" for file in chosen]
    return difference(lake, table, now, then, mixed=True)


def restore_from_backup(
    lake: Lake, table: LakeTable, backup: Backup, *, partition: date | None, run_id: str
) -> Publication:
    """Put a partition (None: the whole table) of a backup back in one commit.

    Every file is verified on its way: size, SHA-256, columns, types, row count, partition. Raises
    PermanentError if the backup is not one of this table or damaged, NotFoundError if it does not
    hold the partition, AuditFailedError if its rows can't be rows of the table.
    """
    backup.require_fit(table)
    chosen = backup.files_of(partition)
    place = f"{table.pipeline}/{file_name_part(run_id)}-{uuid.uuid4().hex[:8]}"
    store = ObjectStore.at(staging_location(lake.settings), lake.settings)
    paths = []
    with spooled_file(lake.settings) as spooled:
        for number, file in enumerate(tracked(chosen, "files")):
            backup.fetch(file, spooled)
            store.put(f"{place}/{number}.parquet", spooled)
            paths.append(f"{store.location}/{place}/{number}.parquet")
    staged = lake.adopt(table, paths, run_id=run_id, partition=_key(partition))
    store.remove_empty_folders(f"{place}/0.parquet")
    expected = sum(file.row_count for file in chosen)
    if staged.row_count != expected:
        lake.discard(staged)
        raise AuditFailedError(
            f"The backup {backup.location} should hold {expected} rows of {_key(partition)}, but "
            f"holds {staged.row_count}; nothing was changed. Take another backup."
        )
    source = f"backup {backup.location} of snapshot {backup.snapshot_id}"
    iceberg = lake.iceberg(table)
    orders = [file.sort_order_id for file in chosen if file.row_count]
    added = [
        describe_file(iceberg, table, path, sort_order_id=order)
        for path, order in zip(staged.files, orders, strict=True)
    ]

    def attempt(fresh: "Table") -> Publication:
        return publications.commit_files(
            fresh,
            removed=list(_files(table, fresh, partition).values()),
            added=added,
            properties=_marks(table, fresh, partition, source, backup.snapshot_id, run_id),
        )

    return lake.commit(table, attempt, run_id=run_id, first=iceberg)


def _files(
    table: LakeTable, iceberg: "Table", partition: date | None, snapshot_id: int | None = None
) -> "dict[str, DataFile]":
    if partition is not None and table.partition_by is None:
        raise PermanentError(
            f"The table {table.name} is not partitioned; restore it whole, without --partition."
        )
    where = None if partition is None else {str(table.partition_by): partition}
    files = reading.live_files(iceberg, where=where, snapshot_id=snapshot_id)
    return {file.file_path: file for file in files}


def require_files(iceberg: "Table", files: "Sequence[DataFile]") -> None:
    """Raise NotFoundError if one of these files is gone or has another length."""
    for file in files:
        found = iceberg.io.new_input(file.file_path)
        if not found.exists() or len(found) != file.file_size_in_bytes:
            raise NotFoundError(
                f"The file {file.file_path} of that snapshot is gone or damaged; restore another "
                "snapshot, or a backup."
            )


def difference(
    lake: Lake, table: LakeTable, now: Sequence[str], then: Sequence[str], *, mixed: bool
) -> Difference:
    """Compare the rows of two sets of a table's files; `mixed`: older ones may lack columns."""
    with connect(lake.settings) as con:
        settings = lake.settings
        if any(map(is_remote, [*now, *then])):
            enable_s3(con, endpoint=settings.s3_endpoint, region=settings.s3_region)
        before, after = (reading.select_files(table, paths, mixed=mixed) for paths in (now, then))

        def count(query: str) -> int:
            found: Any = con.execute(f"SELECT count(*) FROM ({query})").fetchone()
            return int(found[0])

        return Difference(
            rows_now=count(before),
            rows_after=count(after),
            rows_lost=count(f"({before}) EXCEPT ALL ({after})"),
            rows_regained=count(f"({after}) EXCEPT ALL ({before})"),
        )


def _marks(
    table: LakeTable,
    fresh: "Table",
    partition: date | None,
    source: str,
    snapshot_id: int,
    run_id: str,
) -> dict[str, str]:
    """Return a restoration's properties; what is no run's own (a stream's position) goes on.

    A restored partition does not set a stream back: what it delivered since was taken.
    """
    current = fresh.current_snapshot()
    last = Publication.of(current).properties if current else {}
    properties = {
        **{name: value for name, value in last.items() if name not in _OF_ONE_RUN},
        RESTORED_FROM: source,
        INPUTS: json.dumps({".".join(table.identifier): snapshot_id}),
        "code_version": code_version(),
    }
    return publications.snapshot_properties(run_id, [_key(partition)], properties)


def _key(partition: date | None) -> str:
    return "all" if partition is None else partition.isoformat()
