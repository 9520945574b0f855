"""`data_quality_issues`: one row for every failed check, refused file and quarantined record.

Columns as SA-26 names them, and what they lack: expected value, run, partition, file, line, rule.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any

import psycopg

from pipeline_platform.quality.contracts import ExpectationResult
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.stored_text import storable

Connection = psycopg.Connection[Any]
MAX_TEXT = 4000


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong; `issue_type` is its kind: threshold, contract, file, record."""

    pipeline: str
    severity: str
    issue_type: str
    rule: str | None = None
    table_name: str | None = None
    expected_value: str | None = None
    actual_value: str | None = None
    run_id: str | None = None
    partition_key: str | None = None
    file_name: str | None = None
    file_sha256: str | None = None
    line_number: int | None = None
    description: str | None = None


@dataclass(frozen=True)
class IssueTypeSummary:
    """Issues of one type: how many, and the mean of those actual values that are numbers."""

    issue_type: str
    count: int
    average_actual_value: float | None


def threshold_issue(
    pipeline: str,
    measurement: Measurement,
    verdict: Verdict,
    *,
    table_name: str | None = None,
    run_id: str | None = None,
    partition_key: str | None = None,
) -> Issue | None:
    """Return the issue of a failed threshold, or None if it passed or could not be measured."""
    if verdict.outcome != "fail" or verdict.severity is None:
        return None
    offenders = f" Offending: {', '.join(measurement.offenders)}." if measurement.offenders else ""
    return Issue(
        pipeline=pipeline,
        severity=verdict.severity,
        issue_type="threshold",
        rule=verdict.name,
        table_name=table_name,
        expected_value=None if verdict.limit is None else f"{verdict.limit:g}",
        actual_value=None if verdict.value is None else repr(verdict.value),
        run_id=run_id,
        partition_key=partition_key,
        description=verdict.sentence + offenders,
    )


def contract_issue(
    pipeline: str,
    result: ExpectationResult,
    *,
    table_name: str,
    run_id: str | None = None,
    partition_key: str | None = None,
) -> Issue | None:
    """Return the issue of a failed expectation, or None if it passed."""
    if result.passed:
        return None
    return Issue(
        pipeline=pipeline,
        severity=result.severity,
        issue_type="contract",
        rule=result.rule,
        table_name=table_name,
        expected_value=result.limit,
        actual_value=str(result.failing_count or result.observed),
        run_id=run_id,
        partition_key=partition_key,
        description=f"{result.observed}; sample: {[dict(one) for one in result.failing_sample]}",
    )


def record_issue(conn: Connection, issue: Issue, *, now: datetime) -> None:
    """Write one issue."""
    record_issues(conn, [issue], now=now)


def record_issues(conn: Connection, issues: Sequence[Issue], *, now: datetime) -> None:
    """Write issues; texts are cut to 4000 characters."""
    if not issues:
        return
    names = [field.name for field in fields(Issue)]
    columns = ", ".join((*names, "created_at"))
    with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY data_quality_issues ({columns}) FROM STDIN".encode()) as copy,
    ):
        for issue in issues:
            copy.write_row((*map(_short, astuple(issue)), now))


def resolve_issues(
    conn: Connection, pipeline: str, *, rule: str, partition_key: str | None, now: datetime
) -> int:
    """Close the open issues of a rule and partition, because it is kept again; return how many."""
    return conn.execute(
        """
        UPDATE data_quality_issues SET resolved_at = %s
        WHERE pipeline = %s AND rule = %s AND partition_key IS NOT DISTINCT FROM %s
          AND resolved_at IS NULL
        """,
        (now, pipeline, rule, partition_key),
    ).rowcount


def issues_by_day(
    conn: Connection, pipeline: str, *, since: datetime
) -> list[tuple[str, str, int]]:
    """Return day (UTC), severity and count, the newest day first, the most severe first (SA-27)."""
    rows = conn.execute(
        """
        SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, severity, count(*)
        FROM data_quality_issues
        WHERE pipeline = %s AND created_at >= %s
        GROUP BY day, severity
        ORDER BY day DESC, array_position(ARRAY['critical', 'warning', 'info'], severity)
        """,
        (pipeline, since),
    ).fetchall()
    return [(day, severity, count) for day, severity, count in rows]


def issues_by_type(conn: Connection, pipeline: str, *, since: datetime) -> list[IssueTypeSummary]:
    """Count issues by type, with the mean of the actual values that are numbers (SA-61, D-4).

    A value is a number if PostgreSQL can read it as one: `1.2.3` is left out instead of ending
    the query, `-5` and `1e3` are counted.
    """
    rows = conn.execute(
        r"""
        SELECT issue_type, count(*), avg(
            CASE WHEN actual_value ~ '^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*$'
                 THEN actual_value::numeric END
        )::float8
        FROM data_quality_issues
        WHERE pipeline = %s AND created_at >= %s
        GROUP BY issue_type ORDER BY count(*) DESC, issue_type
        """,
        (pipeline, since),
    ).fetchall()
    return [IssueTypeSummary(*row) for row in rows]


def open_issues(conn: Connection, pipeline: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """Return the newest unresolved issues with all their columns."""
    names = ["issue_id", "created_at", *(field.name for field in fields(Issue))]
    rows = conn.execute(
        f"""
        SELECT {", ".join(names)} FROM data_quality_issues
        WHERE pipeline = %s AND resolved_at IS NULL
        ORDER BY created_at DESC, issue_id DESC LIMIT %s
        """.encode(),
        (pipeline, limit),
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _short(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = storable(value) or ""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
