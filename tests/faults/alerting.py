"""What test_alerts_killed kills: rounds over a made-up log, until it is read and all is told."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import apprise  # noqa: F401 -- loaded before any process is forked
from pydantic import SecretStr

from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Reading, Router
from pipeline_platform.operations.incident_words import DryRun
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.unit.operations.broken_things import finding

KIND = "CHECK"
EVENTS_A_ROUND = 2
THINGS = 4
LIVES = 3
"""Each thing breaks and is mended so many times."""


def story() -> list:
    """Return the log: each thing, on a table of its own, breaks, and is mended a little later."""
    findings = []
    for _ in range(LIVES):
        for is_fine in (False, True):
            for thing in range(THINGS):
                findings.append(
                    finding(
                        f"check:{thing}",
                        is_fine=is_fine,
                        event_id=len(findings) + 1,
                        subject=f"web_events/silver/table_{thing}",
                    )
                )
    return findings


def settings_of(home: Path, url: str, hook: str) -> Settings:
    return Settings(
        home=home,
        environment="test",
        database_url=SecretStr(url),
        channels={"slack": SecretStr(hook)},
    )


def read(reached: Mapping[str, int], _: datetime) -> Reading:
    """Return the next few events behind a position, as the log of Dagster would."""
    position = reached.get(KIND, 0)
    new = story()[position : position + EVENTS_A_ROUND]
    return Reading(tuple(new), {KIND: position + len(new)}, is_complete=True)


def dry_run(command: str) -> DryRun:
    return DryRun(command, 0, "nothing", 0.0)


def is_done(services: Services) -> bool:
    with services.database.connection() as connection:
        read_to = store.positions(connection).get(KIND, 0)
        row = connection.execute(
            "SELECT (SELECT count(*) FROM incident_messages WHERE state = 'WAITING')"
            " + (SELECT count(*) FROM message_deliveries WHERE state = 'PENDING')"
        ).fetchone()
    return read_to == len(story()) and row == (0,)


def main(home: Path, url: str, hook: str) -> None:
    """Do rounds until everything is read and told; nothing is caught or cleaned up."""
    with Services(settings_of(home, url, hook)) as services:
        router = Router(services, run_command=dry_run)
        while not is_done(services):
            router.round(read)


def timeline_of(services: Services) -> list[tuple[str, str]]:
    """Return cause and kind of every line of every incident, in order."""
    with services.database.connection() as connection:
        return connection.execute(
            "SELECT i.cause, e.kind FROM incident_events e JOIN incidents i USING (incident_id)"
            " WHERE e.kind <> 'told' ORDER BY e.incident_event_id"
        ).fetchall()
