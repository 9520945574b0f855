"""A platform whose published events were labelled and scored by other rules than are wanted now."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from pipeline_platform.services import Services
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from tests.integration.web_events.event_files import (
    ARRIVED,
    DAY,
    NOON,
    deliver,
    events,
    ingest,
    refine_requested,
)

OLD = load_runbook()
FRIENDS = {"acme-sync": "acme"}
BEFRIENDED = OLD.model_copy(update={"rulings": OLD.rulings.model_copy(update={"friends": FRIENDS})})
RESCORED = OLD.model_copy(
    update={
        "rulings": OLD.rulings.model_copy(
            update={"score": {**OLD.rulings.score, "missing_client_address": 0.4}}
        )
    }
)
ACME = "acme-sync python-requests/2.32"
NEXT_DAY = DAY + timedelta(days=1)
"""On DAY a friend of tomorrow sends events, on NEXT_DAY nobody whose label could change."""


def run_with(services: Services, runbook: Any = OLD, run_id: str | None = None) -> RunContext:
    """Return a run with these rules; its id is a new proposal's unless given."""
    run_id = run_id or f"relabel-{uuid.uuid4().hex[:8]}"
    return RunContext(services, run_id, clock=lambda: ARRIVED, runbook=runbook)


def process(run: RunContext) -> None:
    """Take two days to silver: people, a client of ours, and events without an address."""
    content = events(4) + events(3, NOON + timedelta(minutes=1), "acme", user_agent=ACME)
    content += events(3, NOON + timedelta(days=1), "later")
    content += events(2, NOON + timedelta(minutes=2), "nowhere", ip=None)
    deliver(run.services, "events_1.ndjson", content)
    ingest(run)
    refine_requested(run)


def no_marts(_run: RunContext, _proposed: RunContext, _days: Sequence[date]) -> Mapping[str, Any]:
    """Look at no marts."""
    return {"marts": [], "failed_tests": []}
