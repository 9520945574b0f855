"""What the server is at: sessions that wait for a lock, and who holds it (SA-59)."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]


def blocked_sessions(conn: Connection) -> list[Mapping[str, Any]]:
    """Return each pair of a waiting session and one that it waits for, the longest wait first.

    As the view `blocked_sessions`, which psql shows: blocked_pid, waits_seconds, lock, object,
    blocked_query, blocker_pid, blocker_state, blocker_user, blocker_seconds, blocker_query.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute("SELECT * FROM blocked_sessions").fetchall())
