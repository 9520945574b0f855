"""The lake's tables of web_events: every column, its type and its unit.

Instants are UTC; `event_date` is the UTC day of `event_at`. Bronze keeps each event as delivered;
silver has one row per event.
"""

import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable

PIPELINE = "web_events"

INSTANT = pa.timestamp("us", tz="UTC")
AMOUNT = pa.decimal128(20, 4)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_PROVENANCE = [
    _required("file_name", pa.string()),
    _required("file_sha256", pa.string()),
    _required("line_number", pa.int64()),
    _required("received_at", INSTANT),
]

RAW_EVENTS = LakeTable(
    pipeline=PIPELINE,
    layer="bronze",
    name="raw_events",  # unsorted: lines stream to their files, however large the delivery is
    schema=pa.schema(
        [
            _required("event_date", pa.date32()),
            _required("event_at", INSTANT),
            _required("event_id", pa.string()),
            _required("source", pa.string()),
            _required("raw", pa.string()),
            *_PROVENANCE,
        ]
    ),
    description="Every event as delivered, with its source, file, line, hash and arrival.",
    partition_by="event_date",
)

WEB_EVENTS = LakeTable(
    pipeline=PIPELINE,
    layer="silver",
    name="web_events",
    schema=pa.schema(
        [
            _required("event_date", pa.date32()),
            _required("event_at", INSTANT),
            _required("event_id", pa.string()),
            _required("event_type", pa.string()),
            _required("source", pa.string()),
            pa.field("user_id", pa.string()),
            _required("visitor_id", pa.string()),
            _required("session_id", pa.string()),
            _required("session_event_number", pa.int32()),
            pa.field("client_address", pa.string()),
            pa.field("http_method", pa.string()),
            pa.field("status_code", pa.int32()),
            pa.field("response_bytes", pa.int64()),
            pa.field("duration_ms", pa.float64()),
            pa.field("url", pa.string()),
            pa.field("url_scheme", pa.string()),
            pa.field("url_host", pa.string()),
            pa.field("url_path", pa.string()),
            pa.field("url_query", pa.string()),
            pa.field("referrer", pa.string()),
            pa.field("referrer_host", pa.string()),
            _required("traffic_channel", pa.string()),
            pa.field("utm_source", pa.string()),
            pa.field("utm_medium", pa.string()),
            pa.field("utm_campaign", pa.string()),
            pa.field("utm_term", pa.string()),
            pa.field("utm_content", pa.string()),
            pa.field("user_agent", pa.string()),
            pa.field("browser", pa.string()),
            pa.field("browser_version", pa.string()),
            pa.field("operating_system", pa.string()),
            _required("device_type", pa.string()),
            pa.field("value", AMOUNT),
            pa.field("currency", pa.string()),
            _required("properties", pa.string()),
            _required("is_bot", pa.bool_()),
            pa.field("bot_rule_id", pa.string()),
            _required("bot_list_version", pa.string()),
            _required("data_quality_score", pa.float64()),
            _required("score_deductions", pa.string()),
            _required("score_version", pa.string()),
            _required("is_late", pa.bool_()),
            *_PROVENANCE,
        ]
    ),
    description="One row per web event: typed, deduplicated, labelled and scored.",
    partition_by="event_date",
    sort_by=("event_at", "event_id"),
)

TABLES = (RAW_EVENTS, WEB_EVENTS)
"""All but the marts, which `marts.py` declares."""
