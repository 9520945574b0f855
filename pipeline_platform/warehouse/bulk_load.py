"""A month of a partitioned table, replaced in whole: loaded beside it, then swapped in (SA-5).

The rows go into a fresh table without indexes, in schema `loading`; indexes and constraints
follow, then the table takes the old partition's place. All of it is one transaction: readers see
the old month or the new one, and a load that was killed leaves nothing behind.
"""

import time
from collections.abc import Callable
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from pipeline_platform.failures import ConflictError
from pipeline_platform.warehouse.binary_copy import Rows, copy_rows, refused_rows
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.fresh_tables import (
    MONTH_CHECK,
    add_indexes_and_keys,
    make_fresh_table,
)
from pipeline_platform.warehouse.partitions import create_monthly_partition

Connection = psycopg.Connection[Any]
TABLE = "performance_data"
LOADING = "loading"
"""The schema of tables that are to become partitions."""
_LOCK_ATTEMPT_MILLISECONDS = 2000
_ON_COMMIT_MILLISECONDS = 10_000
_STATISTICS_TARGET = 30
"""A sample of 9,000 rows: enough to plan by, at a seventh of the default's time."""
_SECONDS_BETWEEN_ATTEMPTS = 0.2


def replace_month(
    database: Database,
    month: date,
    source: Rows,
    *,
    on_commit: Callable[[Connection], None],
    table: str = TABLE,
    wait_seconds: float = 60,
) -> int:
    """Make `source` the whole content of a month; return the number of rows.

    `source` has columns of the table by name, in any order. `on_commit` is called once the new
    rows are in place, in the same transaction: what it writes is committed with them or not at
    all; keep it short, because readers wait for it. Raises BadInputError for rows that the table
    does not take (wrong month, duplicate key, unknown vendor, ...), ConflictError when readers
    leave no gap for the swap within `wait_seconds`; the old month then stays as it was.
    """
    with database.transaction() as conn:
        partition = create_monthly_partition(conn, table, month)
    with database.transaction() as conn:
        hold_month(conn, partition, wait_seconds)
        fresh = sql.Identifier(LOADING, partition)
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(fresh))
        make_fresh_table(conn, table, fresh, *month_bounds(month))
        rows = copy_rows(conn, LOADING, partition, source, freeze=True)
        with refused_rows(partition):
            add_indexes_and_keys(conn, table, fresh, month.strftime("_%Y_%m"))
        conn.execute(f"SET LOCAL default_statistics_target = {_STATISTICS_TARGET:d}".encode())
        conn.execute(sql.SQL("ANALYZE {}").format(fresh))
        lock_against_readers(conn, table, partition, wait_seconds)
        _swap(conn, table, partition, month)
        conn.execute(f"SET LOCAL lock_timeout = {_ON_COMMIT_MILLISECONDS:d}".encode())
        on_commit(conn)
    return rows


def hold_month(conn: Connection, partition: str, wait_seconds: float) -> None:
    """Wait until no other load of the same month runs, until the end of the transaction."""
    conn.execute("SELECT set_config('lock_timeout', %s, true)", (f"{wait_seconds * 1000:.0f}",))
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('replace_month:' || %s, 0))", (partition,)
    )


def lock_against_readers(conn: Connection, table: str, partition: str, wait_seconds: float) -> None:
    """Lock parent and old partition for the swap, in short attempts of 2 s.

    One long attempt would make every new reader wait for the slowest old one.
    """
    lock = sql.SQL("LOCK TABLE ONLY {}, {} IN ACCESS EXCLUSIVE MODE").format(
        sql.Identifier(*table.split(".")), sql.Identifier(schema_of(conn, table), partition)
    )
    end = time.monotonic() + wait_seconds
    conn.execute(f"SET LOCAL lock_timeout = {_LOCK_ATTEMPT_MILLISECONDS:d}".encode())
    while True:
        try:
            with conn.transaction():
                conn.execute(lock)
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() > end:
                raise ConflictError(
                    f"Readers of {table} left no gap to swap in a month within "
                    f"{wait_seconds:g} s; end long queries, or load again later."
                ) from error
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            return


def _swap(conn: Connection, table: str, partition: str, month: date) -> None:
    """Put the fresh table into the old partition's place, under its name and index names."""
    parent = sql.Identifier(*table.split("."))
    schema = schema_of(conn, table)
    names = {
        "parent": parent,
        "old": sql.Identifier(schema, partition),
        "fresh": sql.Identifier(LOADING, partition),
        "schema": sql.Identifier(schema),
        "check": sql.Identifier(MONTH_CHECK),
        "first": sql.Literal(month_bounds(month)[0]),
        "after": sql.Literal(month_bounds(month)[1]),
    }
    for command in (
        "ALTER TABLE {parent} DETACH PARTITION {old}",
        "DROP TABLE {old}",
        "ALTER TABLE {fresh} SET SCHEMA {schema}",
        "ALTER TABLE {parent} ATTACH PARTITION {old} FOR VALUES FROM ({first}) TO ({after})",
        "ALTER TABLE {old} DROP CONSTRAINT {check}",
    ):
        conn.execute(sql.SQL(command).format(**names))


def month_bounds(month: date) -> tuple[date, date]:
    """Return the first day of a month and of the next one."""
    first = month.replace(day=1)
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def schema_of(conn: Connection, table: str) -> str:
    """Return the schema that a table is found in; '' without one."""
    row = conn.execute(
        """
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass(%s)
        """,
        (table,),
    ).fetchone()
    return str(row[0]) if row else ""
