"""What the tables of a database hold: rows and a checksum of each, at one position of the log.

Taken when a backup is made and again when it was brought back, they prove that nothing is missing.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline_platform.warehouse.database import connect

SECONDS_TO_FIND_A_STILL_MOMENT = 30
_SECONDS_BETWEEN_ATTEMPTS = 0.02
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2
"""
# The sum does not depend on the order of rows; equal rows count as often as they occur.
_CONTENT = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {} AS t"


@dataclass(frozen=True)
class TableContent:
    """Rows of a table and the sum of their hashes."""

    rows: int
    checksum: str


Contents = Mapping[str, TableContent]
"""By `database.schema.table`."""


@dataclass(frozen=True)
class Proof:
    """Contents at a position of the log; `is_exact` says that no change came between the two."""

    lsn: str
    is_exact: bool
    contents: Contents


def prove(databases: Mapping[str, str]) -> Proof:
    """Look at all databases at one moment in which nobody changes anything, and count later.

    `databases` are addresses on one server by name. It waits for such a moment, holds nobody up,
    and says if there was none.
    """
    end = time.monotonic() + SECONDS_TO_FIND_A_STILL_MOMENT
    with ExitStack() as opened:
        views = {
            name: opened.enter_context(connect(url, autocommit=True))
            for name, url in databases.items()
        }
        first = next(iter(databases.values()))
        watching = opened.enter_context(connect(first, autocommit=True))
        while True:
            before = _position(watching)
            moments = [_freeze(one) for one in views.values()]
            lsn = _position(watching)
            is_exact = all(moments) and before == lsn
            if is_exact or time.monotonic() > end:
                found = {
                    f"{name}.{table}": content
                    for name, view in views.items()
                    for table, content in frozen_contents(view)
                }
                return Proof(lsn, is_exact, found)
            for one in views.values():
                one.execute("ROLLBACK")
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)


def contents(databases: Mapping[str, str]) -> dict[str, TableContent]:
    """Return the contents of databases (addresses by name) that nobody changes."""
    found = {}
    for name, url in databases.items():
        with connect(url, autocommit=True) as view:
            found.update({f"{name}.{table}": content for table, content in frozen_contents(view)})
    return found


def differences(expected: Contents, found: Contents) -> list[str]:
    """Say of each table in which it is not what it should be."""
    told = []
    for name in sorted({*expected, *found}):
        wanted, got = expected.get(name), found.get(name)
        if wanted is None or got is None:
            told.append(f"{name} is {'missing' if got is None else 'there, but should not be'}")
        elif wanted.rows != got.rows:
            told.append(f"{name} has {got.rows} rows, not {wanted.rows}")
        elif wanted.checksum != got.checksum:
            told.append(f"{name} has other rows than it should")
    return told


def frozen_contents(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, TableContent]]:
    """Yield what each table of a database holds, by `schema.table`, as one transaction sees it."""
    for schema, name in connection.execute(_TABLES).fetchall():
        statement = sql.SQL(_CONTENT).format(sql.Identifier(schema, name))
        row = connection.execute(statement).fetchone()
        assert row is not None  # noqa: S101 -- an aggregate's result is one row
        yield f"{schema}.{name}", TableContent(*row)


def _position(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None  # noqa: S101 -- a function's result is one row
    return str(row[0])


def _freeze(connection: psycopg.Connection[Any]) -> bool:
    """Show one state of a database from now on; tell whether no transaction was under way."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    row = connection.execute(
        "SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() AS s"
    ).fetchone()
    assert row is not None  # noqa: S101 -- a function's result is one row
    return bool(row[0])
