"""What a pipeline did in a period, from the control tables: rows by column name.

Every function takes the pipeline and the instants from (included) and to (excluded).
"""

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline_platform.failures import NotFoundError

Connection = psycopg.Connection[Any]
Row = dict[str, Any]

_FILES = """
    FROM etl_processing_log
    WHERE pipeline = %(pipeline)s AND processing_start_time >= %(first)s
      AND processing_start_time < %(end)s AND status <> 'CLAIMED'
"""
_FILE_COLUMNS = """
    count(*) AS files, count(*) FILTER (WHERE status IN ('QUARANTINED', 'FAILED')) AS refused_files,
    coalesce(sum(records_processed), 0)::bigint AS records,
    coalesce(sum(records_quarantined), 0)::bigint AS held_records,
    avg(duration_seconds) AS mean_seconds
"""
_DAYS = f"""
    SELECT (processing_start_time AT TIME ZONE 'UTC')::date AS day, {_FILE_COLUMNS}
    {_FILES} GROUP BY 1 ORDER BY 1
"""
_LATEST_FILES = f"""
    SELECT file_name, vendor, status, records_processed, records_quarantined,
        processing_start_time, duration_seconds, reason
    {_FILES} ORDER BY processing_start_time DESC, processing_id DESC LIMIT 10
"""
_HOURS = """
    SELECT date_trunc('hour', log.arrived_at, 'UTC') AS hour,
        sum(entry.arrived)::bigint AS arrived, sum(entry.published)::bigint AS published,
        sum(entry.quarantined)::bigint AS rejected
    FROM conservation_ledger AS entry
    JOIN etl_processing_log AS log USING (pipeline, file_sha256)
    WHERE pipeline = %(pipeline)s AND hop = 'landing_to_bronze'
      AND log.arrived_at >= %(first)s AND log.arrived_at < %(end)s
    GROUP BY 1 ORDER BY 1
"""
_ENDED = """
    FROM pipeline_runs
    WHERE pipeline_id = %(pipeline)s AND ended_at >= %(first)s AND ended_at < %(end)s
"""
_SECONDS = "extract(epoch FROM ended_at - started_at)"
_JOBS = f"""
    SELECT job_name AS job, count(*) AS runs, count(*) FILTER (WHERE status = 'FAILURE') AS failed,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY {_SECONDS}) AS median_seconds,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY {_SECONDS}) AS p95_seconds,
        avg(extraction_duration_ms)::float8 / 1000 AS extraction_seconds,
        avg(transformation_duration_ms)::float8 / 1000 AS transformation_seconds,
        avg(loading_duration_ms)::float8 / 1000 AS loading_seconds
    {_ENDED} GROUP BY 1 ORDER BY median_seconds DESC NULLS LAST, 1
"""
_RUN_DAYS = f"""
    SELECT (ended_at AT TIME ZONE 'UTC')::date AS day,
        count(*) FILTER (WHERE status = 'SUCCESS') AS succeeded,
        count(*) FILTER (WHERE status = 'FAILURE') AS failed,
        coalesce(sum(succeeded_tasks), 0)::bigint AS completed_tasks,
        coalesce(sum(failed_tasks), 0)::bigint AS failed_tasks
    {_ENDED} GROUP BY 1 ORDER BY 1
"""
_FAILURES = f"""
    SELECT error ->> 'failure_class' AS failure, count(*) AS times, max(ended_at) AS last_at,
        (array_agg(error ->> 'message' ORDER BY ended_at DESC))[1] AS last_message
    FROM (SELECT jsonb_array_elements(errors) AS error, ended_at {_ENDED}) AS told
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10
"""
_RULES = """
    SELECT rule, count(*) FILTER (WHERE kind = 'row') AS records,
        count(*) FILTER (WHERE kind = 'file') AS files,
        count(*) FILTER (WHERE state = 'HELD') AS still_held, min(quarantined_at) AS oldest_at
    FROM (
        SELECT 'row' AS kind, rule, state, quarantined_at FROM quarantined_rows
        WHERE pipeline = %(pipeline)s
        UNION ALL
        SELECT 'file', rule, state, quarantined_at FROM quarantined_files
        WHERE pipeline = %(pipeline)s
    ) AS held
    WHERE quarantined_at >= %(first)s AND quarantined_at < %(end)s
    GROUP BY rule ORDER BY count(*) DESC, rule LIMIT 10
"""
_ISSUES = """
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, severity, count(*) AS issues,
        count(*) FILTER (WHERE resolved_at IS NULL) AS still_open
    FROM data_quality_issues
    WHERE pipeline = %(pipeline)s AND created_at >= %(first)s AND created_at < %(end)s
    GROUP BY 1, 2
    ORDER BY 1 DESC, array_position(ARRAY['critical', 'warning', 'info'], severity)
"""
_SCORES = """
    WITH observed AS (
        SELECT (observed_at AT TIME ZONE 'UTC')::date AS day, value, parts
        FROM check_observations
        WHERE pipeline = %(pipeline)s AND check_name = %(check)s AND value IS NOT NULL
          AND observed_at >= %(first)s AND observed_at < %(end)s
    )
    SELECT 'overall' AS dimension, day, avg(value) AS score FROM observed GROUP BY day
    UNION ALL
    SELECT part.key, day, avg(part.value::float8)
    FROM observed, jsonb_each_text(coalesce(parts, '{}')) AS part GROUP BY 1, 2
    ORDER BY dimension, day
"""


def file_totals(conn: Connection, pipeline: str, first: datetime, end: datetime) -> Row:
    """Return files, refused_files, records, held_records and mean_seconds (SA-30, SA-31)."""
    query = f"SELECT {_FILE_COLUMNS} {_FILES}"
    return _rows(conn, query, pipeline=pipeline, first=first, end=end)[0]


def files_by_vendor(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return the same for each vendor, the one with most refusals first (SA-32)."""
    query = (
        f"SELECT coalesce(vendor, 'unknown') AS vendor, {_FILE_COLUMNS} {_FILES}"
        " GROUP BY 1 ORDER BY refused_files DESC, held_records DESC, 1"
    )
    return _rows(conn, query, pipeline=pipeline, first=first, end=end)


def files_by_day(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return the same for each day (UTC) that had files."""
    return _rows(conn, _DAYS, pipeline=pipeline, first=first, end=end)


def latest_files(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return the ten newest files of the period (SA-25)."""
    return _rows(conn, _LATEST_FILES, pipeline=pipeline, first=first, end=end)


def arrivals_by_hour(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return arrived, published and rejected records by the hour of their file (SW-8)."""
    return _rows(conn, _HOURS, pipeline=pipeline, first=first, end=end)


def runs_by_job(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return runs, failures, durations and mean seconds of each stage, the slowest job first."""
    return _rows(conn, _JOBS, pipeline=pipeline, first=first, end=end)


def runs_by_day(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return ended runs and completed tasks of each day (SW-39)."""
    return _rows(conn, _RUN_DAYS, pipeline=pipeline, first=first, end=end)


def failures_by_class(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return why runs failed, the most frequent class first (SP-49)."""
    return _rows(conn, _FAILURES, pipeline=pipeline, first=first, end=end)


def refusals_by_rule(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return what was put into quarantine by rule, the most frequent first."""
    return _rows(conn, _RULES, pipeline=pipeline, first=first, end=end)


def issues_by_day(conn: Connection, pipeline: str, first: datetime, end: datetime) -> list[Row]:
    """Return issues by day and severity, the newest day first (SA-27)."""
    return _rows(conn, _ISSUES, pipeline=pipeline, first=first, end=end)


def scores_by_day(
    conn: Connection, pipeline: str, check: str, first: datetime, end: datetime
) -> list[Row]:
    """Return the mean score of each day, `overall` and of each dimension (SA-33, SC-46)."""
    return _rows(conn, _SCORES, pipeline=pipeline, check=check, first=first, end=end)


def waiting_work(conn: Connection, pipeline: str) -> list[Row]:
    """Return the partitions that wait to be computed, the longest first."""
    query = """
        SELECT partition_key, requested_at FROM partition_work
        WHERE pipeline = %(pipeline)s ORDER BY requested_at, partition_key
    """
    return _rows(conn, query, pipeline=pipeline)


def held_by_rule(conn: Connection, pipeline: str) -> list[Row]:
    """Return what quarantine holds now by kind and rule, the oldest first."""
    query = """
        SELECT 'rows' AS kind, rule, count(*) AS held, min(quarantined_at) AS oldest_at
        FROM quarantined_rows WHERE pipeline = %(pipeline)s AND state = 'HELD' GROUP BY rule
        UNION ALL
        SELECT 'files', rule, count(*), min(quarantined_at)
        FROM quarantined_files WHERE pipeline = %(pipeline)s AND state = 'HELD' GROUP BY rule
        ORDER BY oldest_at, rule
    """
    return _rows(conn, query, pipeline=pipeline)


def growth_by_month(conn: Connection, table: str, first: datetime) -> list[Row]:
    """Return rows and their bytes by month of `created_at`, the newest first (SA-48, D-3).

    Indexes, and what updates left behind, are not in the bytes. Raises NotFoundError.
    """
    if conn.execute("SELECT to_regclass(quote_ident(%s))", (table,)).fetchone() == (None,):
        raise NotFoundError(
            f"PostgreSQL has no table {table}; correct reports.growing_tables in the runbook."
        )
    query = sql.SQL(
        "SELECT to_char(date_trunc('month', grown.created_at, 'UTC') AT TIME ZONE 'UTC', 'YYYY-MM')"
        " AS month, count(*) AS row_count,"
        " coalesce(sum(pg_column_size(ROW(grown.*))), 0)::bigint AS size_bytes"
        " FROM {} AS grown WHERE grown.created_at >= {} GROUP BY 1 ORDER BY 1 DESC"
    ).format(sql.Identifier(table), sql.Literal(first))
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def _rows(conn: Connection, query: str, **values: object) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
