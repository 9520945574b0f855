"""What one run left in the control tables: files, refused records, issues."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Row = Mapping[str, Any]


def files_of_run(conn: Connection, run_id: str) -> list[Row]:
    """Return file, sha256, status, records, quarantined, partitions and reason of its files."""
    return _rows(
        conn,
        "SELECT file_name AS file, file_sha256 AS sha256, status, records_processed AS records,"
        " records_quarantined AS quarantined, partition_keys AS partitions, reason"
        " FROM etl_processing_log WHERE run_id = %(run_id)s ORDER BY file_name, file_sha256",
        run_id,
    )


def refusals_of_run(conn: Connection, run_id: str) -> list[Row]:
    """Return hop, rule, records and one reason of the records that it refused."""
    return _rows(
        conn,
        "SELECT hop, rule, count(*) AS records, min(reason) AS reason FROM quarantined_rows"
        " WHERE run_id = %(run_id)s GROUP BY hop, rule ORDER BY count(*) DESC, hop, rule",
        run_id,
    )


def issues_of_run(conn: Connection, run_id: str) -> list[Row]:
    """Return severity, type, rule, count and one description of its issues, records left out."""
    return _rows(
        conn,
        "SELECT severity, issue_type AS type, rule, count(*) AS count,"
        " min(description) AS description FROM data_quality_issues"
        " WHERE run_id = %(run_id)s AND issue_type <> 'record' GROUP BY 1, 2, 3"
        " ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), 2, 3",
        run_id,
    )


def _rows(conn: Connection, query: str, run_id: str) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query.encode(), {"run_id": run_id}).fetchall())
