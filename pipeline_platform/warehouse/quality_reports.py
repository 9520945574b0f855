"""What a run observed of quality: its observations, and the issues that it wrote (SC-3, SC-4)."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
MAX_ISSUES = 1000

_LATEST = """
    SELECT run_id FROM check_observations
    WHERE run_id IS NOT NULL AND (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)
    ORDER BY observed_at DESC, observation_id DESC LIMIT 1
"""
_OBSERVATIONS = """
    SELECT pipeline, observed_at, check_name, asset_key, partition_key, outcome, severity, value,
        limit_value, reason
    FROM check_observations WHERE run_id = %(run_id)s
    ORDER BY check_name, asset_key, partition_key, observation_id
"""
_ISSUES = """
    SELECT pipeline, created_at, severity, issue_type, rule, table_name, partition_key,
        expected_value, actual_value, file_name, line_number, description, resolved_at
    FROM data_quality_issues WHERE run_id = %(run_id)s
    ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), issue_id
    LIMIT %(limit)s
"""


def latest_reported_run(conn: Connection, pipeline: str | None = None) -> str | None:
    """Return the run that observed something last, of one pipeline if given; None = none did."""
    row = conn.execute(_LATEST, {"pipeline": pipeline}).fetchone()
    return row[0] if row else None


def observations_of_run(conn: Connection, run_id: str) -> list[Row]:
    """Return every verdict that a run gave."""
    return _rows(conn, _OBSERVATIONS, run_id=run_id)


def issues_of_run(conn: Connection, run_id: str) -> list[Row]:
    """Return the issues that a run wrote, the most severe first, at most a thousand."""
    return _rows(conn, _ISSUES, run_id=run_id, limit=MAX_ISSUES)


def _rows(conn: Connection, query: str, **values: object) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
