"""Control tables that forget what is old: which rows may go, and what each table never loses.

Rows go in parts, each its own transaction, so that whoever is killed has lost nothing but time and
no other session waits for long. What is not named here is kept for ever: the register of files,
the conservation ledger, cost by day and sizes by day are small, and the memory of the platform.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
ROWS_AT_ONCE = 5000


@dataclass(frozen=True)
class Forgetful:
    """By which column a table's rows age, and which of them may go at all (SQL over `old`)."""

    age: str
    may_go: str = "true"


def _has_newer(table: str, age: str, same: str) -> str:
    """Return the condition that a row is not the latest of its kind."""
    return f"EXISTS (SELECT FROM {table} AS newer WHERE {same} AND newer.{age} > old.{age})"


TABLES: Mapping[str, Forgetful] = {
    # The latest of each check says how it stands, however old it is (B-14).
    "check_observations": Forgetful(
        "observed_at",
        _has_newer(
            "check_observations",
            "observed_at",
            "newer.pipeline = old.pipeline AND newer.check_name = old.check_name"
            " AND newer.asset_key IS NOT DISTINCT FROM old.asset_key",
        ),
    ),
    "data_quality_issues": Forgetful("resolved_at"),
    "stream_reads": Forgetful(
        "read_at",
        _has_newer(
            "stream_reads",
            "read_at",
            "newer.pipeline = old.pipeline AND newer.stream = old.stream",
        ),
    ),
    # The last success is told by /health and by metrics (SP-5).
    "pipeline_runs": Forgetful(
        "ended_at",
        "(status <> 'SUCCESS' OR "
        + _has_newer(
            "pipeline_runs",
            "ended_at",
            "newer.pipeline_id = old.pipeline_id AND newer.status = 'SUCCESS'",
        )
        + ")",
    ),
    "maintenance_runs": Forgetful("started_at"),
    "operator_actions": Forgetful("acted_at"),
    "figure_reads": Forgetful("read_at"),
    "idempotent_requests": Forgetful("created_at"),
    "processor_samples": Forgetful("sampled_at"),
    "health_periods": Forgetful("ended_at"),
    "lake_queries": Forgetful("asked_at"),
    "replaced_ledger": Forgetful("replaced_at"),
    # Its timeline, messages and deliveries go with it.
    "incidents": Forgetful(
        "resolved_at",
        "NOT EXISTS (SELECT FROM faults WHERE faults.incident_id = old.incident_id)",
    ),
    # Digests are of no incident; those that a message still names stay.
    "incident_messages": Forgetful(
        "released_at",
        "incident_id IS NULL AND NOT EXISTS"
        " (SELECT FROM incident_messages AS told WHERE told.digest_id = old.message_id)",
    ),
    # The latest tells what the platform runs with now.
    "platform_states": Forgetful("seen_at", _has_newer("platform_states", "seen_at", "true")),
    "cost_readings": Forgetful("read_at", _has_newer("cost_readings", "read_at", "true")),
}


@dataclass(frozen=True)
class Aged:
    """How much is there, since when the oldest is, and how much of it may go."""

    held: int
    oldest_at: datetime | None
    going: int


def aged_rows(conn: Connection, table: str, before: datetime) -> Aged:
    """Return how many rows a table has, how old, and how many go."""
    known = TABLES[table]
    query = (
        f"SELECT count(*), min({known.age}),"
        f" count(*) FILTER (WHERE {known.age} < %(before)s AND {known.may_go}) FROM {table} AS old"
    )
    row = conn.execute(query.encode(), {"before": before}).fetchone()
    return Aged(*row) if row else Aged(0, None, 0)


def forget_rows(conn: Connection, table: str, before: datetime, most: int) -> Iterator[int]:
    """Delete old rows in parts, each committed, at most so many; yield how many each part had."""
    known = TABLES[table]
    query = (
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} AS old"
        f" WHERE {known.age} < %(before)s AND {known.may_go} LIMIT %(rows)s))"
    )
    while most > 0:
        values = {"before": before, "rows": min(ROWS_AT_ONCE, most)}
        with conn.transaction():
            count = conn.execute(query.encode(), values).rowcount
        if count == 0:
            return
        most -= count
        yield count


def aged_pages(conn: Connection, report: str, before: datetime) -> Aged:
    """Return how many pages of a report are kept, since when, and how many go."""
    row = conn.execute(
        "SELECT count(*), min(made_at), count(*) FILTER (WHERE made_at < %(before)s)"
        " FROM report_pages WHERE report = %(report)s",
        {"report": report, "before": before},
    ).fetchone()
    return Aged(*row) if row else Aged(0, None, 0)


def forget_pages(conn: Connection, report: str, before: datetime) -> int:
    """Delete the pages of a report that were made before an instant."""
    return conn.execute(
        "DELETE FROM report_pages WHERE report = %s AND made_at < %s", (report, before)
    ).rowcount


def files_to_forget(conn: Connection, pipeline: str, hashes: list[str]) -> set[str]:
    """Return those archived files that nothing needs any more.

    A file that is still on its way, that nobody knows, or of which a record is held is needed.
    """
    rows = conn.execute(
        """
        SELECT log.file_sha256 FROM etl_processing_log AS log
        WHERE log.pipeline = %(pipeline)s AND log.file_sha256 = ANY(%(hashes)s)
          AND log.status = 'COMPLETED'
          AND NOT EXISTS (
              SELECT FROM quarantined_rows AS held
              WHERE held.pipeline = log.pipeline AND held.file_sha256 = log.file_sha256
                AND held.state = 'HELD'
          )
        """,
        {"pipeline": pipeline, "hashes": hashes},
    ).fetchall()
    return {row[0] for row in rows}
