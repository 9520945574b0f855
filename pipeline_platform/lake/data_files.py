"""A Parquet file's description for Iceberg, given only if the file is what its table declares."""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_platform.failures import AuditFailedError, NotFoundError
from pipeline_platform.lake.engine import is_remote
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.io.pyarrow import DataFileStatistics
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


def describe_file(
    table: "Table",
    declared: LakeTable,
    path: str,
    *,
    sort_order_id: int | None = None,
    is_on_disk: bool = True,
) -> "DataFile":
    """Read a Parquet footer and return the entry that a snapshot would hold.

    `sort_order_id` says that the file's rows, and those of the files beside it, are in that order.
    A local file is on the disk then, so that no commit can outlive its data; `is_on_disk=False` is
    for one that is not going to be published yet.

    Raises AuditFailedError when a column is missing, unknown or of another type, when a required
    one holds nulls, or when the file holds more than one partition; NotFoundError without a file.
    DuckDB marks every column as nullable, so PyIceberg's `add_files` would refuse its files;
    here the nulls are counted instead.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - slow imports, for writers only
    from pyiceberg.io.pyarrow import (  # noqa: PLC0415
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat  # noqa: PLC0415

    if is_on_disk and not is_remote(path):
        _force_to_disk(path)
    source = table.io.new_input(path)
    try:
        with source.open() as stream:
            footer = pq.read_metadata(stream)
    except FileNotFoundError:
        raise _gone(path) from None
    _check_columns(declared, footer.schema.to_arrow_schema(), path)

    metadata, schema = table.metadata, table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(schema, metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    _check_nulls(declared, {f.name: f.field_id for f in schema.fields}, statistics, path)
    try:
        partition = statistics.partition(metadata.spec(), schema)
    except ValueError:
        raise AuditFailedError(
            f"The file {path} holds more than one {declared.partition_by}; write one file for each."
        ) from None
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=len(source),
        sort_order_id=sort_order_id,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def begin_to_disk(paths: Sequence[str]) -> None:
    """Let local files go to the disk while others work, so that publishing them need not wait."""
    local = [path for path in paths if not is_remote(path)]

    def force() -> None:
        for path in local:
            with suppress(OSError, NotFoundError):  # publishing forces it again, and says so
                _force_to_disk(path)

    if local:
        threading.Thread(target=force, name="to disk", daemon=True).start()


def _force_to_disk(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise _gone(path) from None
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _gone(path: str) -> NotFoundError:
    return NotFoundError(f"The staged file {path} is not there; stage its rows again.")


def _check_columns(declared: LakeTable, found: pa.Schema, path: str) -> None:
    types = dict(zip(found.names, found.types, strict=True))
    for column in declared.schema:
        if types.pop(column.name, column.type) != column.type:
            raise AuditFailedError(
                f"The column {column.name} of {path} is {found.field(column.name).type}, but "
                f"{declared.name} declares {column.type}; cast it where the rows are made."
            )
        if column.name not in found.names and not column.nullable:
            raise AuditFailedError(
                f"The file {path} lacks the column {column.name} that {declared.name} requires."
            )
    if types:
        raise AuditFailedError(
            f"The file {path} has the column {next(iter(types))}, which {declared.name} does not "
            "declare; leave it out or declare it."
        )


def _check_nulls(
    declared: LakeTable, field_ids: dict[str, int], statistics: "DataFileStatistics", path: str
) -> None:
    for column in declared.schema:
        nulls = statistics.null_value_counts.get(field_ids[column.name])
        if statistics.record_count and nulls != 0 and not column.nullable:
            found = "an unknown number of" if nulls is None else str(nulls)
            raise AuditFailedError(
                f"The column {column.name} of {declared.name} is required, but {path} has {found} "
                f"nulls in {statistics.record_count} rows; quarantine those rows before staging."
            )
