"""Whether Dagster's daemon lives: when each of its parts last said so."""

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

SILENT_SECONDS = 120.0
"""The daemon says every 30 seconds that it lives."""


@dataclass(frozen=True)
class Heartbeat:
    """A part of the daemon that must run, and its last sign of life; None = never."""

    daemon: str
    beat_at: datetime | None

    def age_seconds(self, now: datetime) -> float | None:
        """Return how long ago it gave its last sign of life."""
        return None if self.beat_at is None else (now - self.beat_at).total_seconds()

    def is_silent(self, now: datetime) -> bool:
        """Tell whether it has not said for too long that it lives, or never did."""
        age = self.age_seconds(now)
        return age is None or age > SILENT_SECONDS


def heartbeats(instance: dg.DagsterInstance) -> list[Heartbeat]:
    """Return the last sign of life of every part of the daemon that this instance needs."""
    found = instance.get_daemon_heartbeats()
    return [
        Heartbeat(
            name, datetime.fromtimestamp(found[name].timestamp, UTC) if name in found else None
        )
        for name in sorted(instance.get_required_daemon_types())
    ]


def silent(instance: dg.DagsterInstance, now: datetime) -> list[Heartbeat]:
    """Return those parts that have not said for too long that they live, or never did."""
    return [one for one in heartbeats(instance) if one.is_silent(now)]
