"""Indexes that nobody uses, and those that grew far beyond what they hold (SA-37, SA-38)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.locks import named_lock

Connection = psycopg.Connection[Any]

BLOATED_PCT = 50.0
LEAST_BYTES = 10_000_000
"""An index is rebuilt if more than half of so many bytes or more is air."""


@dataclass(frozen=True)
class IndexUse:
    """How often an index was used since statistics were counted; partitions count for their parent.

    `last_scan_at` is None for one that was never used; `guards` says that it enforces a constraint.
    """

    table_name: str
    index_name: str
    scans: int
    tuples_read: int
    tuples_fetched: int
    size_bytes: int
    last_scan_at: datetime | None
    guards: bool


@dataclass(frozen=True)
class IndexBloat:
    """An index with its size and about what it would have if it was built anew."""

    schema_name: str
    index_name: str
    size_bytes: int
    needed_bytes: int

    @property
    def bloat_pct(self) -> float:
        """The share that is air; 0 where the estimate is above the size."""
        return max(0.0, 100 * (1 - self.needed_bytes / self.size_bytes)) if self.size_bytes else 0.0


@dataclass(frozen=True)
class Rebuilt:
    """What was done, or would be, to one index; `bytes_after` is None where it was not done."""

    index_name: str
    what: str
    bytes_before: int
    bytes_after: int | None


def index_use(conn: Connection) -> list[IndexUse]:
    """Return every index of the schema public, the most used first (SA-37)."""
    with conn.cursor(row_factory=class_row(IndexUse)) as cursor:
        return cursor.execute(
            """
            SELECT rooted.table_name, rooted.index_name,
                sum(coalesce(used.idx_scan, 0))::bigint AS scans,
                sum(coalesce(used.idx_tup_read, 0))::bigint AS tuples_read,
                sum(coalesce(used.idx_tup_fetch, 0))::bigint AS tuples_fetched,
                sum(pg_relation_size(rooted.indexrelid))::bigint AS size_bytes,
                max(used.last_idx_scan) AS last_scan_at,
                bool_or(rooted.guards) AS guards
            FROM (
                SELECT index.indexrelid,
                    root.relname AS index_name, owner.relname AS table_name,
                    index.indisunique OR index.indisprimary OR index.indisexclusion AS guards
                FROM pg_index AS index
                JOIN pg_class AS root
                    ON root.oid = coalesce(pg_partition_root(index.indexrelid), index.indexrelid)
                JOIN pg_index AS of_root ON of_root.indexrelid = root.oid
                JOIN pg_class AS owner ON owner.oid = of_root.indrelid
                WHERE owner.relnamespace = 'public'::regnamespace
            ) AS rooted
            LEFT JOIN pg_stat_user_indexes AS used ON used.indexrelid = rooted.indexrelid
            GROUP BY rooted.table_name, rooted.index_name
            ORDER BY scans DESC, rooted.table_name, rooted.index_name
            """
        ).fetchall()


def counted_since(conn: Connection) -> datetime | None:
    """Return when the counting of this database's statistics was begun anew; None if never."""
    row = conn.execute(
        "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    since: datetime | None = row[0] if row else None
    return since


def index_bloat(conn: Connection, table: str) -> list[IndexBloat]:
    """Estimate the bloat of the B-tree indexes of a table and its partitions, the largest first.

    From the statistics of the last ANALYZE: entries of their columns' average width with 12 bytes
    of header and pointer, pages filled to 90 %. Equal keys that PostgreSQL stores once make an
    index smaller than this, so that the estimate is low rather than high.
    """
    with conn.cursor(row_factory=class_row(IndexBloat)) as cursor:
        return cursor.execute(
            """
            SELECT space.nspname AS schema_name, index.relname AS index_name,
                pg_relation_size(index.oid) AS size_bytes,
                (8192 + greatest(index.reltuples, 0) * (12 + width.bytes) / 0.9)::bigint
                    AS needed_bytes
            FROM (
                SELECT relid FROM pg_partition_tree(to_regclass(%(table)s))
                UNION SELECT to_regclass(%(table)s)
            ) AS tree
            JOIN pg_index AS key ON key.indrelid = tree.relid AND key.indisvalid
            JOIN pg_class AS index ON index.oid = key.indexrelid AND index.relkind = 'i'
            JOIN pg_am AS method ON method.oid = index.relam AND method.amname = 'btree'
            JOIN pg_class AS owner ON owner.oid = key.indrelid
            JOIN pg_namespace AS space ON space.oid = index.relnamespace
            CROSS JOIN LATERAL (
                SELECT sum(ceil(coalesce(known.avg_width, 8) / 8.0) * 8) AS bytes
                FROM unnest(key.indkey::smallint[]) AS number
                LEFT JOIN pg_attribute AS part
                    ON part.attrelid = owner.oid AND part.attnum = number
                LEFT JOIN pg_stats AS known ON known.schemaname = space.nspname
                    AND known.tablename = owner.relname AND known.attname = part.attname
            ) AS width
            ORDER BY size_bytes DESC, index_name
            """,
            {"table": table},
        ).fetchall()


def rebuild_bloated(
    database: Database,
    table: str,
    *,
    dry_run: bool,
    bloated_pct: float = BLOATED_PCT,
    least_bytes: int = LEAST_BYTES,
) -> Iterator[Rebuilt]:
    """Rebuild the bloated indexes of a table concurrently, one after the other (SA-38).

    First what killed rebuilds left is dropped. Readers and writers go on. Raises ConflictError
    while another rebuild is at work.
    """
    with (
        named_lock(database, "rebuild_indexes", wait_seconds=1),
        database.autocommit_connection() as conn,
    ):
        for schema, name, size in _leftovers(conn):
            if not dry_run:
                drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
                conn.execute(drop.format(sql.Identifier(schema, name)))
            yield Rebuilt(name, "left by a killed rebuild", size, None if dry_run else 0)
        for one in index_bloat(conn, table):
            if one.size_bytes < least_bytes or one.bloat_pct <= bloated_pct:
                continue
            index = sql.Identifier(one.schema_name, one.index_name)
            after = None
            if not dry_run:
                conn.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(index))
                after = _size(conn, one)
            yield Rebuilt(one.index_name, f"{one.bloat_pct:.0f} % air", one.size_bytes, after)


def _leftovers(conn: Connection) -> list[tuple[str, str, int]]:
    """Return invalid indexes that REINDEX CONCURRENTLY names `_ccnew` or `_ccold`."""
    return conn.execute(
        r"""
        SELECT space.nspname, index.relname, pg_relation_size(index.oid)
        FROM pg_index AS key
        JOIN pg_class AS index ON index.oid = key.indexrelid
        JOIN pg_namespace AS space ON space.oid = index.relnamespace
        WHERE NOT key.indisvalid AND index.relname ~ '_cc(new|old)\d*$'
        ORDER BY index.relname
        """
    ).fetchall()


def _size(conn: Connection, index: IndexBloat) -> int:
    row = conn.execute(
        "SELECT pg_relation_size(to_regclass(format('%%I.%%I', %s::text, %s::text)))",
        (index.schema_name, index.index_name),
    ).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
