"""How long quarantine remembers what was resolved (X-7)."""

from datetime import datetime, timedelta
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def remove_resolved(conn: Connection, pipeline: str, *, kept_days: int, now: datetime) -> int:
    """Delete what was resolved more than `kept_days` ago; what is held stays for ever (X-7)."""
    before = now - timedelta(days=kept_days)
    statement = "DELETE FROM {} WHERE pipeline = %s AND state <> 'HELD' AND resolved_at < %s"
    with conn.transaction():
        return sum(
            conn.execute(statement.format(table).encode(), (pipeline, before)).rowcount
            for table in ("quarantined_rows", "quarantined_files")
        )
