"""Arrow tables written to Parquet files as they come, in bounded memory.

DuckDB's own partitioned COPY holds half a million rows per thread before it writes any, and more
outside of its memory limit; here few bytes wait for their row group (`WaitingRows`). While a row
group is encoded the next rows are already computed.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.failures import AuditFailedError
from pipeline_platform.lake.engine import is_remote, sql_name
from pipeline_platform.lake.staging import (
    ROW_GROUP_ROWS,
    check_columns,
    columns_of,
    new_names,
)
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter
    from pyiceberg.io import FileIO, OutputStream

BATCH_VALUES = 200_000
"""How many values, of all columns, are fetched from DuckDB at once, if memory allows."""
BYTES_PER_VALUE = 80
"""A batch has at most so many values fewer than bytes may wait."""
VECTOR_ROWS = 2_048
"""DuckDB hands out multiples of it."""
MAX_OPEN_FILES = 64
"""How many partitions are written to at once; a further one closes the one that came first."""
SAMPLE_ROWS = 4_096
"""By how many rows a file's first row group is judged."""
ROW_GROUPS_PER_FILE = 32
"""A file ends after so many: until it does, its writer holds a description of each (measured: 25
KB, so that a file of a gigabyte took 50 MB)."""


class WaitingRows:
    """The rows of streams that are written side by side: at most `max_bytes` are held together.

    Half of it may wait, the other half is being written, by one thread for all of the streams.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._streams: list[StreamedFiles] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._written: Future[None] | None = None

    def join(self, stream: "StreamedFiles") -> None:
        """Count the rows of one more stream."""
        self._streams.append(stream)

    def settle(self) -> None:
        """Write the largest parts until what waits is little enough."""
        while sum(one.waiting_bytes for one in self._streams) > self.max_bytes // 2:
            max(self._streams, key=lambda one: one.largest_bytes).flush_largest()

    def write(self, step: Callable[[], None]) -> None:
        """Let the thread take a step when the one before is done, whose failure is raised here."""
        self.wait()
        self._written = self._thread.submit(step)

    def wait(self) -> None:
        """Return when all steps are done; raise what the last one failed with."""
        written, self._written = self._written, None
        if written is not None:
            written.result()


class StreamedFiles:
    """Files of one run and partition key, one per value of the partition column and stretch.

    Rows keep the order in which they are written: who declares `sort_by` writes them sorted.
    """

    def __init__(
        self,
        table: LakeTable,
        files: "FileIO",
        *,
        location: str,
        run_id: str,
        partition: str,
        waiting: WaitingRows,
    ) -> None:
        self.table, self.run_id, self.partition = table, run_id, partition
        self._files = files
        self._folder, self._stem = new_names(location, run_id, partition)
        self._waiting = waiting
        self._pending: dict[object, _WaitingPart] = {}
        self._writers: dict[object, _OpenFile] = {}
        self.paths: list[str] = []
        waiting.join(self)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for their row group."""
        return sum(part.bytes for part in self._pending.values())

    @property
    def largest_bytes(self) -> int:
        """How many of them wait for one file, at most."""
        return max((part.bytes for part in self._pending.values()), default=0)

    def flush_largest(self) -> None:
        """Write what waits for the file for which most does."""
        self._flush(max(self._pending, key=lambda value: self._pending[value].bytes))

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows; raise AuditFailedError if they can't be rows of the table."""
        given = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        check_columns(self.table, given.column_names)
        try:
            declared = given.select(self.table.schema.names).cast(self.table.schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise AuditFailedError(
                f"A value does not fit into {self.table.name}: {error}; quarantine such rows "
                "before they are staged."
            ) from error
        for value, part in self._by_value(declared):
            waiting = self._pending.setdefault(value, _WaitingPart())
            waiting.add(part)
            if waiting.rows >= ROW_GROUP_ROWS:
                self._flush(value)
        self._waiting.settle()

    def copy(
        self, rows: duckdb.DuckDBPyRelation, *, is_sorted: bool = True, is_whole: bool = False
    ) -> None:
        """Add the rows of a relation, sorted as the table declares or as they come; see `write`.

        Few rows may be fetched whole, by all threads instead of one; those that were fetched before
        may still be written then, so there are twice as many in memory.
        """
        ordered = ", ".join(sql_name(name) for name in self.table.sort_by)
        check_columns(self.table, rows.columns)
        typed = rows.order(ordered) if ordered and is_sorted else rows
        if is_whole:
            self.write(typed.project(columns_of(self.table)).to_arrow_table())
            return
        values = min(BATCH_VALUES, self._waiting.max_bytes // BYTES_PER_VALUE)
        vectors = max(1, values // len(self.table.schema) // VECTOR_ROWS)
        count = vectors * VECTOR_ROWS
        for batch in typed.project(columns_of(self.table)).to_arrow_reader(count):
            self.write(batch if batch.num_rows == count else _compact(batch))

    def close(self) -> None:
        """Write what waits, and end every file."""
        for value in [*self._pending]:
            self._flush(value)
        self._waiting.wait()
        for value in [*self._writers]:
            self._end(value)

    def __enter__(self) -> Self:
        """Hand out the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files; after a failure what waits is dropped, and no snapshot names them."""
        if kind is not None:
            self._pending.clear()
        self.close()

    def _by_value(self, rows: pa.Table) -> list[tuple[object, pa.Table]]:
        """Split rows by the partition column, in the order of its values."""
        if self.table.partition_by is None or not rows.num_rows:
            return [(None, rows)] if rows.num_rows else []
        column = rows[self.table.partition_by]
        values = pc.unique(column).sort()
        if len(values) == 1 and column.null_count == 0:
            return [(values[0].as_py(), rows)]
        return [
            (
                value.as_py(),
                rows.filter(pc.equal(column, value) if value.is_valid else pc.is_null(column)),
            )
            for value in values
        ]

    def _flush(self, value: object) -> None:
        rows = pa.concat_tables(self._pending.pop(value).tables)
        self._waiting.write(lambda: self._write_row_group(value, rows))

    def _write_row_group(self, value: object, rows: pa.Table) -> None:
        if value not in self._writers:
            if len(self._writers) >= MAX_OPEN_FILES:
                self._end(next(iter(self._writers)))
            self._writers[value] = self._begin(value, rows)
        file = self._writers[value]
        file.writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        file.row_groups += 1
        if file.row_groups == ROW_GROUPS_PER_FILE:
            self._end(value)

    def _begin(self, value: object, rows: pa.Table) -> "_OpenFile":
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - slow import, for writers only

        folder = self._folder
        if self.table.partition_by is not None:
            folder = f"{folder}/{self.table.partition_by}={value}"
        path = f"{folder}/{self._stem}-{len(self.paths)}.parquet"
        self.paths.append(path)
        target = self._created(path)
        writer = ParquetWriter(
            target,
            self.table.schema,
            compression="zstd",
            store_decimal_as_integer=True,
            use_dictionary=_repeating(rows.slice(0, SAMPLE_ROWS)),
        )
        return _OpenFile(writer, target)

    def _created(self, path: str) -> "OutputStream":
        """Create a file; a local one is not waited for until it is published."""
        if is_remote(path):
            return self._files.new_output(path).create()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("xb")

    def _end(self, value: object) -> None:
        file = self._writers.pop(value)
        file.writer.close()
        file.target.close()


@dataclass
class _WaitingPart:
    """Rows of one file; their bytes are counted once, for a table of many columns counts long."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def add(self, rows: pa.Table) -> None:
        self.tables.append(rows)
        self.rows += rows.num_rows
        self.bytes += rows.nbytes


@dataclass
class _OpenFile:
    writer: "ParquetWriter"
    target: "OutputStream"
    row_groups: int = 0


def _repeating(sample: pa.Table) -> list[str]:
    """Return the columns whose values repeat: a dictionary of others costs time and is given up."""
    most = sample.num_rows // 2
    counts = {name: pc.count_distinct(sample[name]).as_py() for name in sample.column_names}
    return [name for name, count in counts.items() if count <= most]


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Copy the few rows that DuckDB hands out last: its buffers are as large as for all."""
    return pa.ipc.read_record_batch(batch.serialize(), batch.schema)
