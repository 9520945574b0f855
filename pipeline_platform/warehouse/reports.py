"""The runbook's reports over the control tables and the server, as rows by column name.

Each takes an open connection, which may be one to a read replica, and `now` where a window ends
there. In psql the views `recent_etl_runs`, `issues_by_day_and_severity`, `issues_by_type`,
`active_connections`, `slow_queries`, `partition_sizes` and `recent_errors` show the same.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pipeline_platform.failures import NotFoundError

Connection = psycopg.Connection[Any]
Row = dict[str, Any]


def recent_etl_runs(conn: Connection, now: datetime, *, days: float = 1) -> list[Row]:
    """Return the file runs of the last days, newest first (SA-25)."""
    query = "SELECT * FROM etl_runs_since(%(since)s)"
    return _rows(conn, query, {"since": now - timedelta(days=days)})


def issues_by_day_and_severity(conn: Connection, now: datetime, *, days: float = 7) -> list[Row]:
    """Return issue_date (UTC), severity, issue_count, open_count; newest day first (SA-27)."""
    query = "SELECT * FROM issues_by_day_and_severity_since(%(since)s)"
    return _rows(conn, query, {"since": now - timedelta(days=days)})


def issues_by_type(conn: Connection, now: datetime, *, days: float = 1) -> list[Row]:
    """Return issue_type, issue_count, numeric_count, average_actual_value (SA-61, D-4).

    The mean is over the `numeric_count` values that are numbers, None if none is.
    """
    query = "SELECT * FROM issues_by_type_since(%(since)s)"
    return _rows(conn, query, {"since": now - timedelta(days=days)})


def errors_by_bin(
    conn: Connection,
    now: datetime,
    *,
    since: timedelta = timedelta(hours=2),
    width: timedelta = timedelta(minutes=5),
    pipeline: str | None = None,
) -> list[Row]:
    """Return bin_start, quarantined_rows, quarantined_files, failed_stream_reads (SW-20).

    One row per bin, empty ones included, newest first; a bin starts at a multiple of its width
    (UTC), so the first one may begin before the window, of which alone it counts.
    """
    query = "SELECT * FROM errors_by_bin(%(since)s, %(until)s, %(width)s, %(pipeline)s)"
    values = {"since": now - since, "until": now, "width": width, "pipeline": pipeline}
    return _rows(conn, query, values)


def errors_since(conn: Connection, since: datetime, pipeline: str | None = None) -> list[Row]:
    """Return at, pipeline, what, name, rule, error_count, reason, run_id; newest first (SA-11).

    `what` is file (refused as a whole), records (of one file, by rule), stream or publication
    (refused by its audit). `name` is the file, the stream, or table and partition.
    """
    return _rows(conn, _ERRORS, {"since": since, "pipeline": pipeline})


_ERRORS = """
    SELECT * FROM (
        SELECT quarantined_at AS at, pipeline, 'file' AS what, file_name AS name, rule,
            1::bigint AS error_count, reason, NULL AS run_id
        FROM quarantined_files WHERE quarantined_at >= %(since)s
        UNION ALL
        SELECT max(quarantined_at), pipeline, 'records', file_name, rule, count(*), min(reason),
            max(run_id)
        FROM quarantined_rows WHERE quarantined_at >= %(since)s
        GROUP BY pipeline, file_name, rule
        UNION ALL
        SELECT read_at, pipeline, 'stream', stream, NULL, 1, reason, run_id
        FROM stream_reads WHERE outcome = 'FAILED' AND read_at >= %(since)s
        UNION ALL
        SELECT created_at, pipeline, 'publication', concat_ws(' ', table_name, partition_key),
            rule, 1, description, run_id
        FROM data_quality_issues
        WHERE issue_type = 'not_published' AND created_at >= %(since)s
    ) AS errors
    WHERE %(pipeline)s::text IS NULL OR pipeline = %(pipeline)s
    ORDER BY at DESC, pipeline, what, name
"""


def active_connections(conn: Connection) -> Row:
    """Return open_count, active_count, idle_in_transaction_count, max_connections, used_pct.

    Of the whole server's clients (SA-16, SA-23).
    """
    return _rows(conn, "SELECT * FROM active_connections", {})[0]


def slow_queries(conn: Connection, *, minutes: float = 5) -> list[Row]:
    """Return the queries at work for at least that long, longest first (SA-58, D-9)."""
    query = "SELECT * FROM queries_running_for(%(at_least)s)"
    return _rows(conn, query, {"at_least": timedelta(minutes=minutes)})


def partition_sizes(conn: Connection, table: str | None = None) -> list[Row]:
    """Return the partitions of a table, or of all tables, the largest first (SA-36, D-7).

    table_name, partition_name, bounds, total_bytes, total_size, estimated_rows. Raises
    NotFoundError for a table that has no partitions and can have none.
    """
    if table is not None:
        found = conn.execute(
            "SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)", (table,)
        )
        if found.fetchone() is None:
            raise NotFoundError(f"The database has no partitioned table {table!r}.")
    query = """
        SELECT table_name, partition_name, bounds, total_bytes, total_size, estimated_rows
        FROM partition_sizes
        WHERE %(table)s::text IS NULL
            OR to_regclass(format('%%I.%%I', schema_name, table_name)) = to_regclass(%(table)s)
        ORDER BY total_bytes DESC, partition_name
    """
    return _rows(conn, query, {"table": table})


def _rows(conn: Connection, query: str, values: Mapping[str, object]) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
