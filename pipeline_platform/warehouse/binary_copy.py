"""Rows into a table by binary COPY: encoded by DuckDB, sent by psycopg in the caller's transaction.

DuckDB's PostgreSQL extension writes the binary format into a pipe and psycopg sends what comes
out. The extension holds all that it encodes until the end, so rows go through in chunks, each a
COPY of its own: while one is sent, the next is encoded. Memory does not grow with their number, and
because the connection is the caller's own, all of it commits or vanishes with its transaction.
"""

import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline_platform.failures import BadInputError
from pipeline_platform.lake.engine import load_extension, sql_name

Rows: TypeAlias = pa.RecordBatchReader | duckdb.DuckDBPyRelation
Connection = psycopg.Connection[Any]
_BATCH_ROWS = 20_480
_CHUNK_ROWS = 20_480
_PIPE_BYTES = 1 << 20
_NUL_CHARACTER = "NULL-byte"
"""How DuckDB calls the one character that PostgreSQL's text can't hold."""
_DUCKDB_TYPES = {
    "text": "VARCHAR",
    "date": "DATE",
    "boolean": "BOOLEAN",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "double precision": "DOUBLE",
    "timestamp with time zone": "TIMESTAMPTZ",
    "timestamp without time zone": "TIMESTAMP",
}


def copy_rows(
    conn: Connection, schema: str, table: str, rows: Rows, *, freeze: bool = False
) -> int:
    """Copy rows into a table by column name; return how many.

    Columns that `rows` lacks take their default. Values are cast to the table's types. `freeze`
    is for a table made in this very transaction: readers and VACUUM then have less to do. Raises
    BadInputError for an unknown column or a value that the table does not take.
    """
    types = _column_types(conn, schema, table)
    reader = _reader(rows)
    unknown = [name for name in reader.schema.names if name not in types]
    if unknown:
        raise BadInputError(f"Table {table} has no column {', '.join(unknown)}; nothing loaded.")
    names = [name for name in types if name in reader.schema.names]
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE {})").format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL("true" if freeze else "false"),
    )
    copied = 0
    with refused_rows(table), conn.cursor() as cursor:
        for chunk in _encoded(reader, {name: types[name] for name in names}):
            with cursor.copy(command) as copy:
                while data := os.read(chunk.read_end, _PIPE_BYTES):
                    copy.write(data)
                # Inside the copy: a failure of the encoder must cancel it, not end it early.
                chunk.finish()
            copied += cursor.rowcount
    return copied


@contextmanager
def refused_rows(table: str) -> Iterator[None]:
    """Turn rows that break a type or constraint of the table into BadInputError."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        parts = (error.diag.message_primary, error.diag.message_detail, error.diag.context)
        said = "; ".join(part for part in parts if part)[:500]
        raise BadInputError(f"Table {table} does not take these rows: {said}.") from error
    except duckdb.Error as error:
        said = " ".join(str(error).split())[:300]
        is_value = isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException)
        if is_value or _NUL_CHARACTER in said:
            raise BadInputError(f"Table {table} does not take these rows: {said}.") from error
        raise


class _Chunk(threading.Thread):
    """Some rows on their way through DuckDB, in a thread of its own, into a pipe."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, rows: pa.Table, types: dict[str, str]
    ) -> None:
        super().__init__(name="binary-copy-encoder", daemon=True)
        self.read_end, self._write_end = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._failure: BaseException | None = None
        self._engine, self._rows = engine, rows
        columns = (f"CAST({sql_name(name)} AS {kind})" for name, kind in types.items())
        self._command = (
            f"COPY (SELECT {', '.join(columns)} FROM delivered) "
            f"TO '/dev/fd/{self._write_end}' (FORMAT postgres_binary)"
        )
        self.start()

    def run(self) -> None:
        try:
            self._engine.register("delivered", self._rows)
            self._engine.execute(self._command)
        except BaseException as error:  # raised again by finish()
            self._failure = error
        finally:
            os.close(self._write_end)

    def finish(self) -> None:
        """Wait for the last row; raise what went wrong."""
        self.join()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread, even in the midst of writing, and free the pipe."""
        os.close(self.read_end)  # a writer that still writes gets an error
        self._engine.interrupt()
        self.join()
        self._engine.close()


def _encoded(reader: pa.RecordBatchReader, types: dict[str, str]) -> Iterator[_Chunk]:
    """Yield the rows chunk by chunk, the next one being encoded already; at least one chunk."""
    engine = duckdb.connect(
        config={
            "threads": 1,
            "memory_limit": "512MB",
            "temp_directory": "",
            "allocator_flush_threshold": "8MB",
            "allocator_bulk_deallocation_flush_threshold": "8MB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    open_chunks: deque[_Chunk] = deque()
    try:
        load_extension(engine, "postgres_scanner")
        engine.execute("SET GLOBAL TimeZone = 'UTC'")
        for rows in _tables(reader):
            open_chunks.append(_Chunk(engine.cursor(), rows, types))
            if len(open_chunks) > 1:
                yield open_chunks[0]
                open_chunks.popleft().close()
        yield open_chunks[0]
    finally:
        for chunk in open_chunks:
            chunk.close()
        engine.close()


def _tables(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield the reader's rows in tables of about _CHUNK_ROWS; an empty one if there are none."""
    batches: list[pa.RecordBatch] = []
    is_empty = True
    for batch in reader:
        batches.append(batch)
        if sum(one.num_rows for one in batches) >= _CHUNK_ROWS:
            yield pa.Table.from_batches(batches)
            batches, is_empty = [], False
    if batches or is_empty:
        yield pa.Table.from_batches(batches, schema=reader.schema)


def _reader(rows: Rows) -> pa.RecordBatchReader:
    if isinstance(rows, pa.RecordBatchReader):
        return rows
    return rows.to_arrow_reader(_BATCH_ROWS)


def _column_types(conn: Connection, schema: str, table: str) -> dict[str, str]:
    """Return the DuckDB type per column of the table, in its order."""
    columns: Sequence[tuple[str, str]] = conn.execute(
        """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
          AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attnum
        """,
        (schema, table),
    ).fetchall()
    return {name: _duckdb_type(table, name, kind) for name, kind in columns}


def _duckdb_type(table: str, name: str, kind: str) -> str:
    if kind.startswith("numeric("):
        return kind.replace("numeric", "DECIMAL")
    if kind not in _DUCKDB_TYPES:
        raise BadInputError(f"Column {table}.{name} has type {kind}, which binary COPY can't fill.")
    return _DUCKDB_TYPES[kind]
