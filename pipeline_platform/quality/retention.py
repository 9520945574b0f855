"""How long quarantine remembers what was resolved (X-7): the files themselves, and the entries."""

from datetime import datetime, timedelta
from typing import Any

import psycopg

from pipeline_platform.landing.zone import LandingZone

Connection = psycopg.Connection[Any]
_RESOLVED = "pipeline = %(pipeline)s AND state <> 'HELD' AND resolved_at < %(before)s"


def remove_resolved(conn: Connection, zone: LandingZone, *, kept_days: int, now: datetime) -> int:
    """Delete what was resolved more than `kept_days` ago; return how many entries went.

    A file's object goes before its entry, which is locked meanwhile: whoever is killed in between
    finds the entry again. An object that came later than the limit is left, because the same
    content may just be on its way into quarantine anew.
    """
    before = now - timedelta(days=kept_days)
    values = {"pipeline": zone.pipeline, "before": before}
    with conn.transaction():
        rows = conn.execute(
            f"DELETE FROM quarantined_rows WHERE {_RESOLVED}".encode(), values
        ).rowcount
        # A transaction that this began and left open would make savepoints of those of the files.
        query = f"SELECT file_sha256 FROM quarantined_files WHERE {_RESOLVED} ORDER BY 1"
        files = [row[0] for row in conn.execute(query.encode(), values).fetchall()]
    return rows + sum(_remove_file(conn, zone, sha256, before) for sha256 in files)


def _remove_file(conn: Connection, zone: LandingZone, sha256: str, before: datetime) -> int:
    values = {"pipeline": zone.pipeline, "before": before, "sha256": sha256}
    where = f"FROM quarantined_files WHERE {_RESOLVED} AND file_sha256 = %(sha256)s"
    with conn.transaction():
        if conn.execute(f"SELECT {where} FOR UPDATE".encode(), values).fetchone() is None:
            return 0
        zone.forget_quarantined(sha256, before)
        return conn.execute(f"DELETE {where}".encode(), values).rowcount
