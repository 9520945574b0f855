"""History relabelled, for the tests that kill: labelled days, all the work, what came of it."""

import os
import time
from collections import Counter
from pathlib import Path

from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.proposals import list_proposals
from pipeline_platform.web_events.proposals import CHANGES, propose, publish, versions_of
from pipeline_platform.web_events.refinement import requested_days
from pipeline_platform.web_events.tables import PIPELINE
from tests.assets.platform_runs import settings_at
from tests.integration.web_events.event_files import silver
from tests.integration.web_events.relabelled import BEFRIENDED, no_marts, process, run_with


def labelled(home: Path, url: str) -> Settings:
    """Make a platform whose published events other rules labelled."""
    settings = settings_at(home, url)
    with Services(settings) as services:
        process(run_with(services))
    return settings


def do(services: Services) -> None:
    """Publish the proposal that waits, or make one and publish it."""
    run = run_with(services, BEFRIENDED, f"relabel-{os.getpid()}-{time.time_ns()}")
    with services.database.connection() as connection:
        waiting = [
            one.proposal_id
            for one in list_proposals(connection, PIPELINE, 100)
            if one.state in ("READY", "PUBLISHING")
        ]
    if waiting or left_to_do(services):
        made = waiting[0] if waiting else propose(run, marts=no_marts).proposal_id
        publish(run, made)


def left_to_do(services: Services) -> list[str]:
    """Name the labels that the wanted rules did not make."""
    wanted = versions_of(run_with(services, BEFRIENDED), CHANGES)
    found = {str(version) for (version,) in silver(services, "bot_list_version")}
    return sorted(found - {wanted["bot_list_version"]})


def end_state(settings: Settings) -> tuple[Counter[tuple[object, ...]], list[str], int]:
    """Return all rows, which days are requested, and how many proposals still wait."""
    with Services(settings) as services:
        with services.database.connection() as connection:
            proposals = list_proposals(connection, PIPELINE, 100)
        days = [str(day) for day in requested_days(run_with(services, BEFRIENDED))]
        waiting = sum(one.state in ("READY", "PUBLISHING") for one in proposals)
        return Counter(silver(services)), days, waiting


def visible_states(settings: Settings) -> set[str]:
    """Return the versions of the labels that a reader sees: one, for one commit changes them."""
    with Services(settings) as services:
        return {str(version) for (version,) in silver(services, "bot_list_version")}
