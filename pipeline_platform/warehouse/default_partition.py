"""Rows that fell into a monthly table's default partition move to months of their own (B-13).

While it holds a day of a month, nobody can make that month's partition. Each month is one
transaction: built beside the table, compared, then attached; readers see a row in the one place or
in the other. A drain that was killed is simply started again.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from pipeline_platform.failures import ConflictError, PermanentError
from pipeline_platform.warehouse.bulk_load import (
    LOADING,
    hold_month,
    lock_against_readers,
    month_bounds,
    schema_of,
)
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.fresh_tables import (
    MONTH_CHECK,
    add_indexes_and_keys,
    column_names,
    make_fresh_table,
    partition_key,
)
from pipeline_platform.warehouse.partitions import our_errors

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class StrayMonth:
    """The rows of one month in a table's default partition, and the partition that they need."""

    table: str
    default: str
    month: date
    rows: int

    @property
    def partition(self) -> str:
        """The name of the month's own partition."""
        return f"{self.table}{self.month:_%Y_%m}"


def stray_months(conn: Connection) -> list[StrayMonth]:
    """Return what lies in default partitions of tables cut by a date, by table and month."""
    defaults = conn.execute(
        """
        SELECT parent.relname, child.relname FROM pg_partitioned_table AS p
        JOIN pg_class AS parent ON parent.oid = p.partrelid
        JOIN pg_class AS child ON child.oid = p.partdefid
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        WHERE p.partstrat = 'r' AND p.partnatts = 1 AND a.atttypid = 'date'::regtype
        ORDER BY 1
        """
    ).fetchall()
    found = []
    for table, default in defaults:
        months = conn.execute(
            sql.SQL(
                "SELECT date_trunc('month', {key})::date, count(*) FROM ONLY {default}"
                " WHERE isfinite({key}) GROUP BY 1 ORDER BY 1"
            ).format(
                key=sql.Identifier(partition_key(conn, table)), default=_place(conn, table, default)
            )
        ).fetchall()
        found += [StrayMonth(table, default, month, rows) for month, rows in months]
    return found


def drain_month(database: Database, stray: StrayMonth, *, wait_seconds: float = 60) -> int:
    """Move a month's rows to a partition of their own; return how many.

    Raises ConflictError when writers or readers leave no gap within `wait_seconds`, PermanentError
    when what was built is not what was there; nothing has changed then.
    """
    with database.transaction() as conn, our_errors():
        hold_month(conn, stray.partition, wait_seconds)
        default = _place(conn, stray.table, stray.default)
        try:
            conn.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(default))
        except psycopg.errors.LockNotAvailable as error:
            raise ConflictError(
                f"Writers of {stray.default} left no gap within {wait_seconds:g} s; end long "
                "transactions, or drain again later."
            ) from error
        return _move(conn, stray, default, wait_seconds)


def _move(conn: Connection, stray: StrayMonth, default: sql.Identifier, wait_seconds: float) -> int:
    first, after = month_bounds(stray.month)
    fresh = sql.Identifier(LOADING, stray.partition)
    parts = {
        "default": default,
        "fresh": fresh,
        "parent": sql.Identifier(schema_of(conn, stray.table), stray.table),
        "own": sql.Identifier(schema_of(conn, stray.table), stray.partition),
        "schema": sql.Identifier(schema_of(conn, stray.table)),
        "check": sql.Identifier(MONTH_CHECK),
        "columns": sql.SQL(", ").join(map(sql.Identifier, column_names(conn, stray.table))),
        "key": sql.Identifier(partition_key(conn, stray.table)),
        "first": sql.Literal(first),
        "after": sql.Literal(after),
    }
    inside = sql.SQL("WHERE {key} >= {first} AND {key} < {after}").format(**parts)
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(fresh))
    make_fresh_table(conn, stray.table, fresh, first, after)
    conn.execute(
        sql.SQL("INSERT INTO {fresh} ({columns}) SELECT {columns} FROM ONLY {default} ").format(
            **parts
        )
        + inside
    )
    before, built = (
        conn.execute(
            sql.SQL(
                "SELECT count(*), coalesce(sum(hashtextextended(ROW({columns})::text, 0)), 0)"
                " FROM ONLY {place} "
            ).format(place=place, columns=parts["columns"])
            + inside
        ).fetchone()
        for place in (default, fresh)
    )
    if before is None or before != built:
        raise PermanentError(
            f"What was built of {stray.month:%Y-%m} is not what lies in {stray.default}, so "
            "nothing was moved; look for triggers on the table, then drain again."
        )
    conn.execute(sql.SQL("DELETE FROM ONLY {default} ").format(**parts) + inside)
    add_indexes_and_keys(conn, stray.table, fresh, f"{stray.month:_%Y_%m}")
    conn.execute(sql.SQL("ANALYZE {}").format(fresh))
    lock_against_readers(conn, stray.table, stray.default, wait_seconds)
    for command in (
        "ALTER TABLE {fresh} SET SCHEMA {schema}",
        "ALTER TABLE {parent} ATTACH PARTITION {own} FOR VALUES FROM ({first}) TO ({after})",
        "ALTER TABLE {own} DROP CONSTRAINT {check}",
    ):
        conn.execute(sql.SQL(command).format(**parts))
    return int(before[0])


def _place(conn: Connection, table: str, name: str) -> sql.Identifier:
    return sql.Identifier(schema_of(conn, table), name)
