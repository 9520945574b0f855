"""Records on their way to bronze: each gets an id and an instant, or a rule that keeps it out.

Bronze is parsed just enough to know what a record is and which day it belongs to; the record
itself is kept as it was delivered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import duckdb

from pipeline_platform.ingestion.rejected_lines import RejectedLine
from pipeline_platform.lake.engine import sql_text
from pipeline_platform.lake.relations import as_view
from pipeline_platform.web_events import access_logs, event_lines
from pipeline_platform.web_events.sources import CombinedLog, JsonEvents, SourceMapping

MAX_ID_CHARACTERS = 256
EARLIEST = "1990-01-01"
_REASONS: Mapping[str, str] = {
    event_lines.UNREADABLE[0]: event_lines.UNREADABLE[1],
    access_logs.UNREADABLE[0]: access_logs.UNREADABLE[1],
    "missing_time": "The record has no time.",
    "unreadable_time": "The time {time!r} is written in no format that the source's mapping names.",
    "too_old": f"The time {{time}} is before {EARLIEST}.",
    "in_the_future": "The time {time} is later than the record's arrival, beyond what clocks err.",
    "unusable_event_id": f"The event's id is longer than {MAX_ID_CHARACTERS} characters.",
}


@dataclass(frozen=True)
class Provenance:
    """Where records come from, and when their content arrived for the first time (UTC)."""

    file_name: str
    file_sha256: str
    received_at: datetime


def located(mapping: SourceMapping, lines: str) -> str:
    """Return the format's own query over a view of line_number and raw."""
    match mapping.format:
        case JsonEvents() as layout:
            return event_lines.located(layout, lines)
        case CombinedLog() as layout:
            return access_logs.located(layout, lines)
        case never:
            assert_never(never)


def judged_records(
    engine: duckdb.DuckDBPyConnection,
    lines: duckdb.DuckDBPyRelation,
    mapping: SourceMapping,
    provenance: Provenance,
    *,
    max_future: timedelta,
) -> duckdb.DuckDBPyRelation:
    """Return the columns of RAW_EVENTS, and `rule`: null, or why the record stays out.

    `lines` has line_number and raw (LINES). Two columns more, `event_time`, the time as it is
    written, and `raw`, the record, tell a rejected one.
    """
    # An instant's day in UTC is found ten times faster without a calendar of time zones.
    unreadable = (
        event_lines.UNREADABLE if isinstance(mapping.format, JsonEvents) else access_logs.UNREADABLE
    )[0]
    received = f"TIMESTAMPTZ {sql_text(provenance.received_at.isoformat())}"
    latest = f"TIMESTAMPTZ {sql_text((provenance.received_at + max_future).isoformat())}"
    return engine.sql(
        f"""
        SELECT CAST(make_timestamp(epoch_us(event_at)) AS DATE) AS event_date, event_at,
            coalesce(event_id, left(sha256(raw), 32)) AS event_id,
            {sql_text(mapping.source)} AS source, raw,
            {sql_text(provenance.file_name)} AS file_name,
            {sql_text(provenance.file_sha256)} AS file_sha256,
            line_number, {received} AS received_at, event_time,
            CASE WHEN NOT is_readable THEN '{unreadable}'
                WHEN event_time IS NULL THEN 'missing_time'
                WHEN event_at IS NULL THEN 'unreadable_time'
                WHEN event_at < TIMESTAMPTZ '{EARLIEST}' THEN 'too_old'
                WHEN event_at > {latest} THEN 'in_the_future'
                WHEN strlen(event_id) > {MAX_ID_CHARACTERS} THEN 'unusable_event_id'
            END AS rule
        FROM ({located(mapping, as_view(lines))})
        """
    )


def rejected_line(line_number: int, rule: str, time: str | None, record: str) -> RejectedLine:
    """Return a record that stays out, with the reason in words.

    It belongs to no partition, for its day is unknown or impossible.
    """
    reason = _REASONS[rule].format(time=(time or "")[:64])
    column = "event_at" if "time" in rule or rule in ("too_old", "in_the_future") else None
    return RejectedLine(line_number, rule, reason, column, record)
