"""What test_marts_killed kills: the marts of web_events, built by dbt and published.

It runs in a process that is forked from one which has loaded everything, and says which phase it
enters.
"""

import importlib
import os
import time
from collections import Counter
from datetime import date, timedelta

from pipeline_platform.orchestration.mart_builds import build_pieces
from pipeline_platform.orchestration.warm_start import IMPORTED_ON_FIRST_USE
from pipeline_platform.partition_ranges import stretches
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import MARTS, mart_variables
from pipeline_platform.web_events.refinement import refine_days, requested_days
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE
from tests.assets.platform_runs import keep_project_parsed, settings_at
from tests.integration.web_events.event_files import (
    DAY,
    NOON,
    deliver,
    events,
    ingest,
    run_of,
)

PHASES = ("build", "publication")
DAYS = [DAY - timedelta(days=back) for back in (2, 1, 0)]

for name in IMPORTED_ON_FIRST_USE:
    importlib.import_module(name)


def prepare(services: Services) -> None:
    """Let a file with events of every day arrive, and publish silver; the marts know nothing."""
    keep_project_parsed(services.settings)
    content = b"".join(events(40, NOON - (DAY - day), prefix=f"{day}-") for day in DAYS)
    deliver(services, "events_1.ndjson", content)
    run = run_of(services)
    ingest(run)
    for _ in refine_days(run, DAYS):
        pass


def answer_requests(services, say=lambda _: None):
    """Build and publish the marts of all days that are requested, as the workflow's last step."""
    run = RunContext(services, f"run-{os.getpid()}-{time.time_ns()}")
    variables = mart_variables(load_runbook().rulings)
    for days in stretches(requested_days(run)):
        say("build")
        for _ in build_pieces(services, MARTS, days, variables, run.run_id):
            say("publication")


def content(services: Services) -> dict[str, Counter[tuple[object, ...]]]:
    """Return all rows of every mart; none before the first publication."""
    with services.connect() as engine:
        return {
            table.name: Counter(services.lake.relation(engine, table).fetchall())
            for table in MARTS.tables
        }


def left_to_do(services: Services) -> tuple[list[date], list[str]]:
    """Return the days that wait, and the files that are not complete."""
    with services.database.connection() as connection:
        files = connection.execute(
            "SELECT file_name FROM etl_processing_log"
            " WHERE pipeline = %s AND status <> 'COMPLETED'",
            (PIPELINE,),
        ).fetchall()
    return list(requested_days(RunContext(services, "look"))), [name for (name,) in files]


def main(home, url, said):
    with Services(settings_at(home, url)) as services:
        answer_requests(services, said.send)
    said.send("done")
