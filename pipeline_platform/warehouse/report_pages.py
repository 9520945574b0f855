"""`report_pages`: the pages of pipelines as they were made, by report and day."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

Connection = psycopg.Connection[Any]


def keep_page(
    conn: Connection, day: date, told: Mapping[str, Any], *, made_at: datetime, run_id: str | None
) -> None:
    """Keep a page as JSON; of two of one day, the later one is kept."""
    conn.execute(
        """
        INSERT INTO report_pages AS known (pipeline, report, report_date, made_at, run_id, page)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (pipeline, report, report_date) DO UPDATE SET
            made_at = excluded.made_at, run_id = excluded.run_id, page = excluded.page
        WHERE known.made_at <= excluded.made_at
        """,
        (told["pipeline"], told["report"], day, made_at, run_id, Json(told)),
    )


def kept_page(
    conn: Connection, pipeline: str, report: str, day: date | None
) -> Mapping[str, Any] | None:
    """Return the page of a day, or the latest one; None if there is none."""
    row = conn.execute(
        "SELECT page FROM report_pages WHERE pipeline = %(pipeline)s AND report = %(report)s"
        " AND (%(day)s::date IS NULL OR report_date = %(day)s) ORDER BY report_date DESC LIMIT 1",
        {"pipeline": pipeline, "report": report, "day": day},
    ).fetchone()
    return row[0] if row else None


def kept_pages(conn: Connection, pipeline: str | None, limit: int) -> list[dict[str, Any]]:
    """Return pipeline, report, report_date, made_at, is_fine and verdict, the newest first."""
    query = """
        SELECT pipeline, report, report_date, made_at, (page ->> 'is_fine')::boolean AS is_fine,
            page ->> 'verdict' AS verdict
        FROM report_pages WHERE %(pipeline)s::text IS NULL OR pipeline = %(pipeline)s
        ORDER BY report_date DESC, made_at DESC, pipeline, report LIMIT %(limit)s
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, {"pipeline": pipeline, "limit": limit}).fetchall()
