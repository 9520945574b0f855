"""Rows written to Parquet files that no snapshot names yet."""

import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from pipeline_platform.failures import (
    AuditFailedError,
    NotFoundError,
    PermanentError,
    UnavailableError,
)
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.engine import is_remote, sql_name, sql_text
from pipeline_platform.lake.reading import PartitionValue
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.io import FileIO

_SOURCE = "rows_to_stage"
ROW_GROUP_ROWS = 122_880
ROW_GROUP_ROWS_PER_MEGABYTE = 80
"""A writer holds a row group, and wide rows take 300 bytes each: at most a fortieth of the limit
(measured: without this, a mart of 175,000 accounts took 18 MB more of 128 MB, or failed)."""


def row_group_rows(memory_bytes: int) -> int:
    """Return how many rows a row group may hold under a memory limit."""
    return min(ROW_GROUP_ROWS, memory_bytes // 10**6 * ROW_GROUP_ROWS_PER_MEGABYTE)


@dataclass(frozen=True)
class Staged:
    """Data files of one run and partition that are written but not published.

    `rows_by_partition` counts their rows by value of the partition column, from the files' own
    footers; None stands for an unpartitioned table.
    """

    table: LakeTable
    files: tuple[str, ...]
    row_count: int
    run_id: str
    partition: str
    rows_by_partition: Mapping[PartitionValue, int] = field(default_factory=dict, hash=False)


def common_table_and_run(batch: Sequence[Staged]) -> tuple[LakeTable, str]:
    """Return the table and run that all staged rows share; PermanentError if they don't."""
    found = {(staged.table.identifier, staged.run_id) for staged in batch}
    if len(found) != 1:
        raise PermanentError(
            f"A publication needs staged rows of one table and one run; these are {sorted(found)}."
        )
    return batch[0].table, batch[0].run_id


def write_rows(
    table: LakeTable,
    rows: duckdb.DuckDBPyRelation,
    *,
    location: str,
    run_id: str,
    partition: str,
    file_bytes: int | None = None,
) -> list[str]:
    """Write a relation to new files in `<location>/data/<partition>/`; return their paths.

    Columns are taken by name and cast to the declared types. When `partition` is a value of the
    partition column, all rows are expected to have it and go to one sorted file; otherwise there
    is at least one file for each value, in `<column>=<value>/`, with sorted stretches. A name
    starts with the run and is never used twice, so that a repeated run can't overwrite a file
    that it published before. With `file_bytes` that one sorted file is split into files of about
    that size. Raises AuditFailedError if columns are missing, unknown or can't be
    cast, UnavailableError if the place can't be written.
    """
    folder, stem = new_names(location, run_id, partition)
    # Sorting holds everything in memory or on disk first; a table that declares none streams.
    columns = filter(None, [table.partition_by, *table.sort_by]) if table.sort_by else ()
    order = ", ".join(sql_name(name) for name in columns)
    check_columns(table, rows.columns)
    query = f"SELECT {columns_of(table)} FROM {_SOURCE}" + (f" ORDER BY {order}" if order else "")
    parquet = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    if table.partition_by is None or is_value(table, partition):
        if file_bytes is not None:
            options = (
                f"{parquet}, FILE_SIZE_BYTES {file_bytes}, "
                f"FILENAME_PATTERN {sql_text(stem + '-{i}')}, OVERWRITE_OR_IGNORE true"
            )
            _copy(rows, f"COPY ({query}) TO {sql_text(folder)} ({options})", table)
            return _written(rows, folder, f"{stem}-*.parquet")
        path = f"{folder}/{stem}-0.parquet"
        _copy(rows, f"COPY ({query}) TO {sql_text(path)} ({parquet})", table)
        return [path]
    options = (
        f"{parquet}, PARTITION_BY ({sql_name(table.partition_by)}), WRITE_PARTITION_COLUMNS true, "
        f"FILENAME_PATTERN {sql_text(stem + '-{i}')}, OVERWRITE_OR_IGNORE true"
    )
    _copy(rows, f"COPY ({query}) TO {sql_text(folder)} ({options})", table)
    return _written(rows, folder, f"*/{stem}-*.parquet")


def move_files(
    files: "FileIO", paths: Sequence[str], *, location: str, run_id: str, partition: str
) -> list[str]:
    """Move files to where `write_rows` would have written them; return their new paths.

    A local file is renamed, an object is copied by the store and deleted. NotFoundError without.
    """
    folder, stem = new_names(location, run_id, partition)
    moved = [f"{folder}/{stem}-{number}.parquet" for number in range(len(paths))]
    for source, target in zip(paths, moved, strict=True):
        try:
            _move(files, source, target)
        except FileNotFoundError:
            raise NotFoundError(f"The file {source} is not there; write it again.") from None
    return moved


def is_value(table: LakeTable, partition: str) -> bool:
    """Tell whether a partition key is a value of the table's partition column."""
    if table.partition_by is None:
        return False
    if not pa.types.is_date(table.schema.field(table.partition_by).type):
        return False
    try:
        date.fromisoformat(partition)
    except ValueError:
        return False
    return True


def staging_location(settings: Settings) -> str:
    """Return where other engines write files that `move_files` then takes to their table."""
    return f"{settings.processed_location.rstrip('/')}/staging"


def file_name_part(text: str) -> str:
    """Return a text without what may not stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).strip(".")


def new_names(location: str, run_id: str, partition: str) -> tuple[str, str]:
    """Return the folder of a partition's files, created if local, and a stem never used before."""
    folder = f"{location}/data/{file_name_part(partition) or 'all'}"
    if not is_remote(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return folder, f"{file_name_part(run_id)}-{uuid.uuid4().hex[:8]}"


def _move(files: "FileIO", source: str, target: str) -> None:
    if not is_remote(target):
        shutil.move(source, target)
        return
    from pyiceberg.io.pyarrow import PyArrowFileIO  # noqa: PLC0415 - slow import, for S3 only

    scheme, bucket, source_key = PyArrowFileIO.parse_location(source)
    target_key = PyArrowFileIO.parse_location(target)[2]
    store = PyArrowFileIO(files.properties).fs_by_scheme(scheme, bucket)
    store.copy_file(source_key, target_key)
    store.delete_file(source_key)


def check_columns(table: LakeTable, columns: Sequence[str]) -> None:
    """Raise AuditFailedError unless these are exactly the declared columns, in any order."""
    missing = [name for name in table.schema.names if name not in columns]
    unknown = [name for name in columns if name not in table.schema.names]
    if missing or unknown:
        raise AuditFailedError(
            f"The rows for {table.name} lack {missing or 'no column'} and have "
            f"{unknown or 'none'} beyond its declaration; select exactly the declared columns."
        )


def columns_of(table: LakeTable) -> str:
    """Return a select list that gives every declared column its type."""
    return ", ".join(
        f"CAST({sql_name(column.name)} AS {duckdb_type(column)}) AS {sql_name(column.name)}"
        for column in table.schema
    )


def _copy(rows: duckdb.DuckDBPyRelation, statement: str, table: LakeTable) -> None:
    try:
        rows.query(_SOURCE, statement)
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise AuditFailedError(
            f"A value does not fit into {table.name}: {str(error).splitlines()[0]}; "
            "quarantine such rows before they are staged."
        ) from error
    except (duckdb.IOException, duckdb.HTTPException) as error:
        raise UnavailableError(
            f"The rows of {table.name} could not be written ({type(error).__name__}); "
            "check the space and access of PLATFORM_PROCESSED_LOCATION."
        ) from error


def _written(rows: duckdb.DuckDBPyRelation, folder: str, pattern: str) -> list[str]:
    if not is_remote(folder):
        return sorted(str(path) for path in Path(folder).glob(pattern))
    listing = rows.query(_SOURCE, f"SELECT file FROM glob({sql_text(folder + '/' + pattern)})")
    return sorted(path for (path,) in listing.fetchall())
