"""Figures of the control tables for metrics: one query each, rows by column name."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Row = dict[str, Any]

_FILES = """
    SELECT pipeline, status, count(*) AS files, coalesce(sum(records_processed), 0) AS records,
        extract(epoch FROM max(completed_at - arrived_at))::float8 AS latency_seconds,
        extract(epoch FROM max(processing_start_time - arrived_at))::float8 AS start_delay_seconds,
        max(duration_seconds) AS duration_seconds
    FROM etl_processing_log WHERE processing_start_time >= %(since)s GROUP BY 1, 2 ORDER BY 1, 2
"""
_WAITING = "SELECT pipeline, count(*) AS partitions FROM partition_work GROUP BY 1 ORDER BY 1"
_QUARANTINE = """
    SELECT pipeline, 'row' AS kind, count(*) AS held FROM quarantined_rows
    WHERE state = 'HELD' GROUP BY 1
    UNION ALL
    SELECT pipeline, 'file', count(*) FROM quarantined_files WHERE state = 'HELD' GROUP BY 1
    ORDER BY 1, 2
"""
_ISSUES = """
    SELECT pipeline, severity, count(*) AS open_issues FROM data_quality_issues
    WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_INCIDENTS = """
    SELECT pipeline, severity, count(*) AS incidents FROM incidents
    WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_CHECKS = """
    SELECT DISTINCT ON (pipeline, check_name, asset_key)
        pipeline, check_name, asset_key, partition_key, outcome, severity, value, limit_value,
        observed_at, reason
    FROM check_observations
    WHERE %(pipeline)s::text IS NULL OR pipeline = %(pipeline)s
    ORDER BY pipeline, check_name, asset_key, observed_at DESC, observation_id DESC
"""
_STREAMS = """
    SELECT DISTINCT ON (pipeline, stream)
        pipeline, stream, read_at, millis_behind_latest, outcome
    FROM stream_reads WHERE read_at >= %(since)s
    ORDER BY pipeline, stream, read_at DESC, stream_read_id DESC
"""
_DATABASE = """
    SELECT pg_database_size(current_database()) AS size_bytes, open_count, active_count,
        idle_in_transaction_count, max_connections
    FROM active_connections
"""
_COST = """
    SELECT usage_date, currency, coalesce(sum(amount), 0)::float8 AS amount
    FROM daily_cost LEFT JOIN daily_service_cost USING (usage_date)
    WHERE usage_date = (SELECT max(usage_date) FROM daily_cost WHERE NOT is_estimated)
    GROUP BY 1, 2
"""


def files_since(conn: Connection, since: datetime) -> list[Row]:
    """Return files, records and the slowest file's times by pipeline and status (SA-82, SA-56)."""
    return _rows(conn, _FILES, since=since)


def first_intakes(conn: Connection, since: datetime) -> list[dict[str, Any]]:
    """Return pipeline, file_name, records, published_at of what each took in first since then.

    A batch of a stream is a file, too.
    """
    return _rows(
        conn,
        """
        SELECT DISTINCT ON (pipeline)
            pipeline, file_name, records_processed AS records, published_at
        FROM etl_processing_log WHERE published_at >= %(since)s AND records_processed > 0
        ORDER BY pipeline, published_at
        """,
        since=since,
    )


def waiting_partitions(conn: Connection) -> list[Row]:
    """Return how many partitions of each pipeline are requested and not done."""
    return _rows(conn, _WAITING)


def held_in_quarantine(conn: Connection) -> list[Row]:
    """Return how many rows and files each pipeline holds in quarantine."""
    return _rows(conn, _QUARANTINE)


def open_issues(conn: Connection) -> list[Row]:
    """Return the unresolved issues by pipeline and severity."""
    return _rows(conn, _ISSUES)


def latest_observations(conn: Connection, pipeline: str | None = None) -> list[Row]:
    """Return the latest observation of every check, of one pipeline if given."""
    return _rows(conn, _CHECKS, pipeline=pipeline)


def open_incidents(conn: Connection) -> list[Row]:
    """Return how many incidents of each pipeline and severity are not resolved."""
    return _rows(conn, _INCIDENTS)


def stream_lags(conn: Connection, since: datetime) -> list[Row]:
    """Return the latest read of each stream that was read since an instant (SW-55)."""
    return _rows(conn, _STREAMS, since=since)


def database_state(conn: Connection) -> Row:
    """Return size_bytes and the connections of the server (SA-23)."""
    return _rows(conn, _DATABASE)[0]


def latest_cost(conn: Connection) -> list[Row]:
    """Return usage_date, currency and amount of the latest settled day; nothing without one."""
    return _rows(conn, _COST)


def _rows(conn: Connection, query: str, **values: object) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
