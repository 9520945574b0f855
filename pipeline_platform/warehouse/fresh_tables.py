"""A table that is to become a partition: made from the catalogue, without a lock on its parent.

`CREATE TABLE (LIKE parent)` keeps a lock on the parent until the transaction ends, so that of two
loads at once neither could swap. Reading the catalogue leaves no lock behind.
"""

from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from pipeline_platform.warehouse.indexes import index_definitions

Connection = psycopg.Connection[Any]
MONTH_CHECK = "rows_of_month"


def make_fresh_table(
    conn: Connection, table: str, fresh: sql.Identifier, first: date, after: date
) -> None:
    """Make a table with the parent's columns and checks, for days from `first` until `after`.

    The check of the days spares ATTACH PARTITION a scan of all rows.
    """
    key = sql.Identifier(partition_key(conn, table))
    month = sql.SQL("CONSTRAINT {} CHECK ({key} >= {} AND {key} < {})").format(
        sql.Identifier(MONTH_CHECK), sql.Literal(first), sql.Literal(after), key=key
    )
    parts = [*_columns(conn, table), *_constraints(conn, table, "c"), month]
    conn.execute(sql.SQL("CREATE TABLE {} ({})").format(fresh, sql.SQL(", ").join(parts)))


def add_indexes_and_keys(conn: Connection, table: str, fresh: sql.Identifier, suffix: str) -> None:
    """Add the parent's indexes, named with the suffix, and its foreign keys.

    ATTACH PARTITION then finds all that it needs and builds nothing.
    """
    for index in index_definitions(conn, table):
        conn.execute(index.create_on(fresh, index.name + suffix))
    for key in _constraints(conn, table, "f"):
        conn.execute(sql.SQL("ALTER TABLE {} ADD {}").format(fresh, key))


def _columns(conn: Connection, table: str) -> list[sql.Composable]:
    rows = conn.execute(
        """
        SELECT a.attname, concat_ws(' ',
            format_type(a.atttypid, a.atttypmod),
            'COLLATE ' || quote_ident(cn.nspname) || '.' || quote_ident(c.collname),
            CASE
                WHEN a.attgenerated = 's'
                THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
                ELSE 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)
            END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END
        )
        FROM pg_attribute AS a
        LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
        LEFT JOIN pg_namespace AS cn ON cn.oid = c.collnamespace
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        (table,),
    ).fetchall()
    return [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(definition))
        for name, definition in rows
    ]


def _constraints(conn: Connection, table: str, kind: str) -> list[sql.Composable]:
    """Return the parent's own constraints of a kind: `c` checks, `f` foreign keys."""
    rows = conn.execute(
        """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = to_regclass(%s) AND contype = %s AND conparentid = 0
        ORDER BY conname
        """,
        (table, kind),
    ).fetchall()
    return [
        sql.SQL("CONSTRAINT {} {}").format(sql.Identifier(name), sql.SQL(definition))
        for name, definition in rows
    ]


def column_names(conn: Connection, table: str) -> list[str]:
    """Return the columns that rows are written to: all but generated ones."""
    rows = conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        (table,),
    ).fetchall()
    return [name for (name,) in rows]


def partition_key(conn: Connection, table: str) -> str:
    """Return the column that a table is partitioned by; '' without one."""
    row = conn.execute(
        """
        SELECT a.attname FROM pg_partitioned_table AS p
        JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        WHERE p.partrelid = to_regclass(%s)
        """,
        (table,),
    ).fetchone()
    return str(row[0]) if row else ""
