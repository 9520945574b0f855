"""A platform with event files in its landing zone, and what came of them."""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.partition_ranges import stretches
from pipeline_platform.refinement import StagedSilver, complete_partitions, refined_versions
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import ingest_arrivals
from pipeline_platform.web_events.refinement import refine_days, requested_days
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE, WEB_EVENTS

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ARRIVED = datetime(2026, 11, 21, 6, tzinfo=UTC)
GOOD = {
    "event_type": "page_view",
    "anonymous_id": "a",
    "url": "https://shop.example/p",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "ip": "192.0.2.1",
}


def event(event_id: str, at: datetime = NOON, **fields: object) -> bytes:
    record = {"event_id": event_id, "event_time": at.isoformat(), **GOOD, **fields}
    return json.dumps(record).encode() + b"\n"


def events(count: int, at: datetime = NOON, prefix: str = "e", **fields: object) -> bytes:
    """Return events a second apart, each of its own visitor."""
    return b"".join(
        event(f"{prefix}{n}", at + timedelta(seconds=n), **{"anonymous_id": f"v{n}", **fields})
        for n in range(count)
    )


def deliver(
    services: Services, name: str, content: bytes, *, arrived_at: datetime = ARRIVED
) -> None:
    """Drop a file into `incoming/` as if it had arrived at that instant."""
    path = Path(services.settings.raw_location) / PIPELINE / "incoming" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (arrived_at.timestamp(), arrived_at.timestamp()))


def run_of(services: Services, run_id: str = "test", now: datetime = ARRIVED) -> RunContext:
    return RunContext(services, run_id, clock=lambda: now)


def ingest(run: RunContext, keys: Sequence[str] | None = None) -> dict[str, FileOutcome]:
    return {one.name: one for one in ingest_arrivals(run, keys)}


def refine(run: RunContext, days: Iterable[date]) -> list[StagedSilver]:
    """Publish silver of days and take them as done, as if no marts were made from them."""
    found = []
    database = run.services.database
    for stretch in stretches(days):
        found += list(refine_days(run, stretch))
        versions = refined_versions(database, PIPELINE, stretch)
        complete_partitions(database, PIPELINE, versions, run.now())
    return found


def refine_requested(run: RunContext) -> list[StagedSilver]:
    """Work on every requested day, until none is requested any more."""
    found = []
    while days := requested_days(run):
        found += refine(run, days)
    return found


def silver(services: Services, columns: str = "*") -> list[tuple[object, ...]]:
    with services.connect() as engine:
        rows = services.lake.relation(engine, WEB_EVENTS)
        return rows.project(columns).order("ALL").fetchall()
