"""Indexes of a partitioned table: what the parent asks for, and building one without locking.

PostgreSQL can't CREATE INDEX CONCURRENTLY on a partitioned table, as the runbook asks (D-2). So
each partition's index is built concurrently and then attached to the parent's.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline_platform.failures import ConflictError, NotFoundError
from pipeline_platform.warehouse.database import Database

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class IndexDefinition:
    """An index of a partitioned table; `method_and_columns` is all after `USING`.

    `constraint` is the definition of the primary key or unique constraint that it serves.
    """

    name: str
    is_unique: bool
    method_and_columns: str
    constraint: str | None

    def create_on(self, table: sql.Composable, name: str) -> sql.Composed:
        """Return the command that makes the same index, under another name, on a partition."""
        if self.constraint:
            return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                table,
                sql.Identifier(name),
                sql.SQL(self.constraint),
            )
        return sql.SQL("CREATE {}INDEX {} ON {} USING {}").format(
            sql.SQL("UNIQUE " if self.is_unique else ""),
            sql.Identifier(name),
            table,
            sql.SQL(self.method_and_columns),
        )


def index_definitions(conn: Connection, table: str) -> list[IndexDefinition]:
    """Return what indexes every partition of `table` must have, the primary key first."""
    rows = conn.execute(
        """
        SELECT c.relname, x.indisunique, pg_get_constraintdef(k.oid),
            substr(
                pg_get_indexdef(x.indexrelid),
                length(format(
                    'CREATE %%sINDEX %%I ON ONLY %%I.%%I USING ',
                    CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END,
                    c.relname, n.nspname, t.relname
                )) + 1
            )
        FROM pg_index AS x
        JOIN pg_class AS c ON c.oid = x.indexrelid
        JOIN pg_class AS t ON t.oid = x.indrelid
        JOIN pg_namespace AS n ON n.oid = t.relnamespace
        LEFT JOIN pg_constraint AS k ON k.conindid = x.indexrelid AND k.contype IN ('p', 'u')
            AND k.conrelid = x.indrelid
        WHERE x.indrelid = to_regclass(%s)
        ORDER BY x.indisprimary DESC, c.relname
        """,
        (table,),
    ).fetchall()
    return [IndexDefinition(row[0], row[1], row[3], row[2]) for row in rows]


def build_index(database: Database, table: str, index: str, definition: str) -> list[str]:
    """Build an index on every partition concurrently and attach it; return what was built.

    `definition` is SQL of our own after `ON table`, such as "(data_source, as_of_date DESC)".
    Partitions stay readable and writable. Repeatable: what exists is kept, an invalid leftover of
    a killed attempt is removed first. Raises ConflictError when another build of this table runs.
    """
    built: list[str] = []
    with database.autocommit_connection() as conn:
        schema = _schema_of(conn, table)
        _hold_build_lock(conn, table)
        remove_invalid_indexes(conn, table)
        conn.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON ONLY {} {}").format(
                sql.Identifier(index),
                sql.Identifier(*table.split(".")),
                sql.SQL(definition),
            )
        )
        parent = sql.Identifier(schema, index)
        for partition in _partitions_without(conn, table, schema, index):
            name = index + _suffix(table, partition)
            create = sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} {}").format(
                sql.Identifier(name), sql.Identifier(schema, partition), sql.SQL(definition)
            )
            attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
                parent, sql.Identifier(schema, name)
            )
            try:
                conn.execute(create)
                conn.execute(attach)
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject) as error:
                raise ConflictError(
                    f"Partition {partition} was replaced while its index {name} was built; "
                    "build the index again."
                ) from error
            built.append(name)
    return built


def remove_invalid_indexes(conn: Connection, table: str) -> list[str]:
    """Drop what killed concurrent builds left on the partitions of `table`; return the names.

    The parent's own index is not one of them: it is invalid only until all parts are attached.
    The connection must be in autocommit mode.
    """
    rows = conn.execute(
        """
        SELECT n.nspname, c.relname
        FROM pg_inherits AS i
        JOIN pg_index AS x ON x.indrelid = i.inhrelid AND NOT x.indisvalid
        JOIN pg_class AS c ON c.oid = x.indexrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.inhparent = to_regclass(%s)
        ORDER BY c.relname
        """,
        (table,),
    ).fetchall()
    for schema, name in rows:
        drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
        conn.execute(drop.format(sql.Identifier(schema, name)))
    return [name for _, name in rows]


def _hold_build_lock(conn: Connection, table: str) -> None:
    held = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended('build_index:' || %s, 0))", (table,)
    ).fetchone()
    if held is None or not held[0]:
        raise ConflictError(f"Another index of {table} is being built; try again when it is done.")


def _schema_of(conn: Connection, table: str) -> str:
    row = conn.execute(
        """
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass(%s)
        """,
        (table,),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"Table {table} does not exist.")
    return str(row[0])


def _partitions_without(conn: Connection, table: str, schema: str, index: str) -> list[str]:
    """Return the partitions, oldest name first, whose index is not attached to the parent's."""
    rows = conn.execute(
        """
        SELECT c.relname
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(%s) AND NOT EXISTS (
            SELECT FROM pg_inherits AS part
            JOIN pg_index AS x ON x.indexrelid = part.inhrelid
            WHERE x.indrelid = c.oid
              AND part.inhparent = to_regclass(format('%%I.%%I', %s::text, %s::text))
        )
        ORDER BY c.relname
        """,
        (table, schema, index),
    ).fetchall()
    return [row[0] for row in rows]


def _suffix(table: str, partition: str) -> str:
    """Return what a partition's name adds to its parent's, such as `_2026_10`."""
    own = partition.removeprefix(table.rpartition(".")[2])
    return own if own != partition else f"_{partition}"
