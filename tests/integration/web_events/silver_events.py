"""Rows of silver web_events: made by hand or by hypothesis, published to a real lake."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline_platform.lake.publications import Publication
from pipeline_platform.services import Services
from pipeline_platform.web_events.tables import WEB_EVENTS

Event = dict[str, Any]
DEFAULTS: Mapping[str, Any] = {
    "event_type": "page_view",
    "source": "shop",
    "traffic_channel": "direct",
    "device_type": "desktop",
    "properties": "{}",
    "is_bot": False,
    "bot_list_version": "1",
    "data_quality_score": 1.0,
    "score_deductions": "{}",
    "score_version": "1",
    "is_late": False,
    "file_name": "events.ndjson",
    "file_sha256": "0" * 64,
    "line_number": 1,
}


def event(
    at: datetime, number: int, *, session: str = "s1", visitor: str = "v1", **more: Any
) -> Event:
    """Make one event; `number` is its place in the session."""
    return {
        **DEFAULTS,
        "event_date": at.date(),
        "event_at": at,
        "received_at": at,
        "event_id": f"{session}-{at.date()}-{number}",
        "visitor_id": visitor,
        "session_id": f"{session}-{at.date()}",
        "session_event_number": number,
        **more,
    }


def noon(day: date, minutes: int = 0) -> datetime:
    """Return twelve o'clock UTC of a day, and so many minutes later."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=minutes)


def publish_silver(
    services: Services, events: Iterable[Event], days: Iterable[date] = ()
) -> Publication:
    """Publish events in place of all rows of their days and of `days`."""
    rows = [{name: one.get(name) for name in WEB_EVENTS.schema.names} for one in events]
    touched = sorted({*days, *(row["event_date"] for row in rows)})
    staged = services.lake.stage(
        WEB_EVENTS,
        pa.Table.from_pylist(rows, schema=WEB_EVENTS.schema),
        run_id=f"silver-{touched[0]}-{len(rows)}",
        partition="some days",
    )
    span = f"event_date >= '{touched[0]}' and event_date <= '{touched[-1]}'"
    return services.lake.publish(staged, replace=span, properties={})
