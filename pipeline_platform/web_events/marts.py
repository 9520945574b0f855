"""The marts of web_events: every column, its type and its unit, and what building days reads.

Shares are percentages with four digits, scores lie between 0 and 1. The definitions of the figures
are in `dbt_project/macros/web_events.sql`.
"""

from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from pipeline_platform.lake.marts import Mart, MartGroup
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.web_events.rulings import Rulings
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import AMOUNT, INSTANT, PIPELINE, WEB_EVENTS

COUNT = pa.int64()
BYTES = pa.decimal128(28, 0)
PERCENT = pa.decimal128(9, 4)
MEAN_SCORE = pa.decimal128(9, 6)
TOTAL = pa.decimal128(28, AMOUNT.scale)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _mart(
    name: str, fields: list[pa.Field], description: str, *, partition_by: str = "event_date"
) -> LakeTable:
    return LakeTable(
        pipeline=PIPELINE,
        layer="gold",
        name=name,
        schema=pa.schema([_required(partition_by, pa.date32()), *fields]),
        description=description,
        partition_by=partition_by,
    )


_TRAFFIC_FIGURES = [
    _required("total_events", COUNT),
    _required("bot_events", COUNT),
    _required("human_events", COUNT),
    _required("bot_percentage", PERCENT),
    _required("distinct_visitors", COUNT),
    _required("distinct_addresses", COUNT),
    _required("sessions", COUNT),
    _required("page_views", COUNT),
    _required("error_events", COUNT),
    pa.field("error_percentage", PERCENT),
    _required("late_events", COUNT),
    _required("response_bytes", BYTES),
    _required("avg_quality", MEAN_SCORE),
    _required("min_quality", pa.float64()),
]

DAILY_SUMMARY = _mart(
    "daily_summary",
    _TRAFFIC_FIGURES,
    "One row per event_date: events, bots, visitors, sessions, errors, bytes and quality.",
)

QUALITY_TREND = _mart(
    "quality_trend",
    [
        _required("avg_quality", MEAN_SCORE),
        _required("bot_percentage", PERCENT),
        _required("total_events", COUNT),
    ],
    "Mean score, share of bots in percent and number of events of each event_date.",
)

WEEKLY_PERFORMANCE_SUMMARY = _mart(
    "weekly_performance_summary",
    [
        _required("days_with_events", COUNT),
        *_TRAFFIC_FIGURES,
        pa.field("median_duration_ms", pa.float64()),
        pa.field("p95_duration_ms", pa.float64()),
    ],
    "One row per ISO week (its Monday): the daily figures over the week, and durations.",
    partition_by="week_start_date",
)

SESSIONS = _mart(
    "sessions",
    [
        _required("session_id", pa.string()),
        _required("visitor_id", pa.string()),
        pa.field("user_id", pa.string()),
        _required("started_at", INSTANT),
        _required("ended_at", INSTANT),
        _required("duration_ms", COUNT),
        _required("event_count", COUNT),
        _required("page_view_count", COUNT),
        _required("error_count", COUNT),
        pa.field("value", TOTAL),
        _required("traffic_channel", pa.string()),
        pa.field("traffic_source", pa.string()),
        pa.field("utm_medium", pa.string()),
        pa.field("utm_campaign", pa.string()),
        pa.field("entry_host", pa.string()),
        pa.field("entry_path", pa.string()),
        pa.field("exit_path", pa.string()),
        _required("device_type", pa.string()),
        pa.field("browser", pa.string()),
        pa.field("operating_system", pa.string()),
        _required("is_bot", pa.bool_()),
        _required("bot_event_count", COUNT),
        _required("is_single_event", pa.bool_()),
        _required("is_open_at_midnight", pa.bool_()),
    ],
    "One row per session: its length, where it came from, where it began and ended.",
)

FUNNEL = _mart(
    "funnel",
    [
        _required("step_number", pa.int32()),
        _required("step_name", pa.string()),
        _required("visitors", COUNT),
        _required("sessions", COUNT),
        pa.field("conversion_percentage", PERCENT),
        pa.field("step_conversion_percentage", PERCENT),
    ],
    "Sessions and visitors of each day that took each step of the funnel in order; without bots.",
)

TRAFFIC_BY_SOURCE = _mart(
    "traffic_by_source",
    [
        _required("traffic_channel", pa.string()),
        _required("traffic_source", pa.string()),
        _required("visitors", COUNT),
        _required("sessions", COUNT),
        _required("bot_sessions", COUNT),
        _required("events", COUNT),
        _required("bot_events", COUNT),
        _required("page_views", COUNT),
        pa.field("value", TOTAL),
    ],
    "Sessions, visitors and events of each day by channel and source of the session's first event.",
)


def mart_variables(rulings: Rulings) -> dict[str, Any]:
    """Return the variables that the models of web_events ask dbt for: rulings of the runbook."""
    return {
        "session_minutes": rulings.session_minutes,
        "funnel_steps": [step.model_dump() for step in rulings.funnel],
    }


def week_start(day: date) -> date:
    """Return the Monday of a day's ISO week."""
    return day - timedelta(days=day.weekday())


def touched_weeks(first: date, last: date) -> tuple[date, date]:
    """Return the Mondays of the first and the last week of which a range has any day."""
    return week_start(first), week_start(last)


def days_of_touched_weeks(first: date, last: date) -> tuple[date, date]:
    """Return the first and the last day of these weeks."""
    return week_start(first), week_start(last) + timedelta(days=6)


ROWS_PER_MEGABYTE = 2_000
"""How many events one build of the marts may read per megabyte of the memory limit."""

MARTS = MartGroup(
    pipeline=PIPELINE,
    sources=(WEB_EVENTS,),
    marts=(
        Mart(DAILY_SUMMARY),
        Mart(QUALITY_TREND),
        Mart(WEEKLY_PERFORMANCE_SUMMARY, builds=touched_weeks, reads=days_of_touched_weeks),
        Mart(SESSIONS),
        Mart(FUNNEL),
        Mart(TRAFFIC_BY_SOURCE),
    ),
    rows_per_megabyte=ROWS_PER_MEGABYTE,
    variables=lambda: mart_variables(load_runbook().rulings),
    are_last=True,
)
