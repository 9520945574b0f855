"""Which statements take the server's time, as its extension pg_stat_statements counts them."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline_platform.failures import NotFoundError

Connection = psycopg.Connection[Any]


def slowest_statements(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """Return calls, mean_ms, max_ms, total_ms, row_count and statement, the slowest mean first.

    Of this database, since the server's counters were set back; values are left out of statements.
    (SP-40; the names are those since PostgreSQL 13, D-9.) Raises NotFoundError where the server
    does not count.
    """
    found = conn.execute(
        "SELECT nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace"
        " WHERE extname = 'pg_stat_statements'"
    ).fetchone()
    preloaded = conn.execute("SELECT current_setting('shared_preload_libraries')").fetchone()
    if found is None or preloaded is None or "pg_stat_statements" not in preloaded[0]:
        raise NotFoundError(
            "The server does not count statements: it needs pg_stat_statements in its "
            "shared_preload_libraries, and CREATE EXTENSION pg_stat_statements in this database. "
            "The embedded server has no such extension."
        )
    query = sql.SQL(
        "SELECT calls, round(mean_exec_time::numeric, 1)::float8 AS mean_ms,"
        " round(max_exec_time::numeric, 1)::float8 AS max_ms,"
        " round(total_exec_time::numeric, 1)::float8 AS total_ms,"
        " rows AS row_count, query AS statement FROM {}"
        " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " ORDER BY mean_exec_time DESC LIMIT {}"
    ).format(sql.Identifier(found[0], "pg_stat_statements"), sql.Literal(limit))
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()
