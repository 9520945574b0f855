"""web_events for the tests that kill: files with faults, all the work, and what came of it."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pipeline_platform.quality.conservation import gaps, imbalances
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.samples.events import generate_events
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS
from tests.assets.platform_runs import settings_at
from tests.integration.web_events.event_files import (
    ARRIVED,
    DAY,
    deliver,
    ingest,
    refine_requested,
)


def delivered(home: Path, url: str) -> Settings:
    """Make a landing zone with event files: bad records, copies and late events among them."""
    settings = settings_at(home, url)
    with Services(settings) as services:
        made = generate_events(DAY, days=4, visitors=25)
        for number, (name, content) in enumerate(made.files):
            deliver(services, name, content, arrived_at=ARRIVED + timedelta(seconds=number))
    return settings


def do(services: Services) -> None:
    """Take everything that waits to published silver."""
    run = RunContext(services, f"run-{os.getpid()}-{time.time_ns()}")
    ingest(run)
    refine_requested(run)


def left_to_do(services: Services) -> list[str]:
    """Name what waits in the landing zone and in the register."""
    zone = services.landing(PIPELINE)
    with services.database.connection() as connection:
        days = connection.execute(
            "SELECT partition_key FROM partition_work WHERE pipeline = %s", (PIPELINE,)
        ).fetchall()
    files = [one.key for folder in ("incoming", "processing") for one in zone.list(folder)]
    return files + [key for (key,) in days]


def end_state(settings: Settings) -> Mapping[str, Counter[tuple[object, ...]]]:
    """Return all rows, what the register and quarantine say, and what lies where."""
    with Services(settings) as services, services.database.connection() as connection:
        zone = services.landing(PIPELINE)
        queries = {
            "register": "SELECT file_name, status, records_processed, records_quarantined,"
            " partition_keys FROM etl_processing_log",
            "quarantine": "SELECT file_name, line_number, rule, state FROM quarantined_rows",
            "ledger": "SELECT hop, file_sha256, partition_key, arrived, published, quarantined,"
            " deduplicated FROM conservation_ledger",
        }
        found = {
            name: Counter(
                tuple(map(str, row)) for row in connection.execute(query.encode()).fetchall()
            )
            for name, query in queries.items()
        }
        with services.connect() as engine:
            for table in (RAW_EVENTS, WEB_EVENTS):
                found[table.name] = Counter(services.lake.relation(engine, table).fetchall())
        for folder in ("incoming", "processing", "archive", "quarantine"):
            found[folder] = Counter((one.key,) for one in zone.list(folder))
        return found


def leaks(settings: Settings) -> list[object]:
    """Return what the conservation ledger can't account for."""
    with Services(settings) as services, services.database.connection() as connection:
        return [
            *imbalances(connection, PIPELINE),
            *gaps(connection, PIPELINE, "landing_to_bronze", "bronze_to_silver"),
        ]
