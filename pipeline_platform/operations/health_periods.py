"""What probes of the platform's health said, kept as periods: an answer holds until the next."""

from collections.abc import Sequence
from datetime import datetime

from pipeline_platform.operations.incident_figures import ProbedPeriod
from pipeline_platform.operations.incident_store import WATCH_GAP
from pipeline_platform.warehouse.database import Connection

DATABASE = "database"


def remember_probe(conn: Connection, failing: Sequence[str], now: datetime) -> None:
    """Let what held hold until now, and from now on what this probe says.

    After a gap nothing is said of the time in between.
    """
    row = conn.execute(
        "UPDATE health_periods SET ended_at = greatest(ended_at, %(now)s),"
        " probes = probes + (failing = %(failing)s)::integer WHERE started_at ="
        " (SELECT max(started_at) FROM health_periods) AND ended_at >= %(now)s - %(gap)s"
        " RETURNING failing",
        {"now": now, "gap": WATCH_GAP, "failing": list(failing)},
    ).fetchone()
    if row is None or row[0] != list(failing):
        conn.execute(
            "INSERT INTO health_periods (started_at, ended_at, failing) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (now, now, list(failing)),
        )


def probed_periods(conn: Connection, since: datetime) -> list[ProbedPeriod]:
    """Return what the probes said since an instant, oldest first."""
    rows = conn.execute(
        "SELECT started_at, ended_at, probes, failing = '{}' FROM health_periods"
        " WHERE ended_at >= %s ORDER BY 1",
        (since,),
    ).fetchall()
    return [ProbedPeriod(*row) for row in rows]


def remember_outage(conn: Connection, began_at: datetime, now: datetime) -> None:
    """Keep that the database was away: nothing could be kept of it meanwhile (SA-88)."""
    conn.execute(
        "INSERT INTO health_periods (started_at, ended_at, failing) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (began_at, now, [DATABASE]),
    )
