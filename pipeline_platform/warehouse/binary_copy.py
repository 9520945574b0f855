"""Rows into a table by binary COPY: encoded by DuckDB, sent by psycopg in the caller's transaction.

DuckDB's PostgreSQL extension writes the binary format into a pipe and psycopg sends what comes
out. Rows stream through in batches, so memory does not grow with their number, and because the
connection is the caller's own, the copy commits or vanishes with the rest of its transaction.
"""

import fcntl
import os
import threading
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
_BATCH_ROWS = 50_000
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
    with (
        refused_rows(table),
        conn.cursor() as cursor,
        _encoded(reader, {name: types[name] for name in names}) as source,
    ):
        with cursor.copy(command) as copy:
            while chunk := os.read(source.read_end, _PIPE_BYTES):
                copy.write(chunk)
            # Inside the copy: a failure of the encoder must cancel it, not end it early.
            source.finish()
        return cursor.rowcount


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


class _Encoder(threading.Thread):
    """DuckDB in a thread of its own, writing binary rows into a pipe."""

    def __init__(self, reader: pa.RecordBatchReader, types: dict[str, str]) -> None:
        super().__init__(name="binary-copy-encoder", daemon=True)
        self.read_end, self._write_end = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._failure: BaseException | None = None
        self._reader = reader
        self._engine = duckdb.connect(
            config={
                "threads": 1,
                "memory_limit": "512MB",
                "temp_directory": "",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        load_extension(self._engine, "postgres_scanner")
        self._engine.execute("SET TimeZone = 'UTC'")
        columns = (f"CAST({sql_name(name)} AS {kind})" for name, kind in types.items())
        self._command = (
            f"COPY (SELECT {', '.join(columns)} FROM delivered) "
            f"TO '/dev/fd/{self._write_end}' (FORMAT postgres_binary)"
        )

    def run(self) -> None:
        try:
            self._engine.register("delivered", self._reader)
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


@contextmanager
def _encoded(reader: pa.RecordBatchReader, types: dict[str, str]) -> Iterator[_Encoder]:
    encoder = _Encoder(reader, types)
    encoder.start()
    try:
        yield encoder
    finally:
        encoder.close()


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
