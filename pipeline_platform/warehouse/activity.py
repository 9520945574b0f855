"""What the server is at: who waits for whom (SA-59), whose sessions are idle or never end (SA-58).

Sessions of the platform itself are none of those that are ended: its pools give theirs back, and
its own work has limits of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
_FOREIGN = """
    backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND application_name <> 'pipeline_platform' AND datname NOT IN ('dagster', 'iceberg_catalog')
"""
"""Dagster and the lake's catalogue have databases of their own on the same server."""


def blocked_sessions(conn: Connection) -> list[Mapping[str, Any]]:
    """Return each pair of a waiting session and one that it waits for, the longest wait first.

    As the view `blocked_sessions`, which psql shows: blocked_pid, waits_seconds, lock, object,
    blocked_query, blocker_pid, blocker_state, blocker_user, blocker_seconds, blocker_query.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute("SELECT * FROM blocked_sessions").fetchall())


def foreign_queries(
    conn: Connection, at_least: timedelta = timedelta(0)
) -> list[Mapping[str, Any]]:
    """Return what others have had at work for so long, longest first (SA-58).

    pid, since, seconds, user_name, database_name, client, query.
    """
    return _sessions(conn, "state IN ('active', 'fastpath function call')", "query_start", at_least)


def idle_sessions(conn: Connection, at_least: timedelta) -> list[Mapping[str, Any]]:
    """Return others' sessions that have done nothing for so long, longest first; as above.

    Those that are idle in a transaction are among them: they hold locks, too.
    """
    return _sessions(conn, "state LIKE 'idle%%'", "state_change", at_least)


def cancel_queries(conn: Connection, pids: Sequence[int]) -> None:
    """End what sessions are at; the sessions stay, and their transactions are rolled back."""
    conn.execute("SELECT pg_cancel_backend(pid) FROM unnest(%s::integer[]) AS pid", (list(pids),))


def end_sessions(conn: Connection, pids: Sequence[int]) -> None:
    """End sessions; what they had not committed is rolled back."""
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM unnest(%s::integer[]) AS pid", (list(pids),)
    )


def _sessions(
    conn: Connection, state: str, since: str, at_least: timedelta
) -> list[Mapping[str, Any]]:
    query = f"""
        SELECT pid, {since} AS since,
            extract(epoch FROM clock_timestamp() - {since})::double precision AS seconds,
            usename::text AS user_name, datname::text AS database_name,
            nullif(application_name, '') AS client, query
        FROM pg_stat_activity
        WHERE {_FOREIGN} AND {state} AND clock_timestamp() - {since} >= %(at_least)s
        ORDER BY {since}, pid
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query.encode(), {"at_least": at_least}).fetchall())
