"""A platform whose clock stands still, a channel that it tells, and rounds over made-up things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Reading, Round, Router
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.incident_words import DryRun
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.services import Services
from tests.integration.operations.local_channels import LocalChannels
from tests.unit.operations.broken_things import NOON, finding


@dataclass
class Desk:
    """One platform whose clock stands still until it is set, and one channel that it tells."""

    services: Services
    channels: LocalChannels
    minute: float = 0
    dry_runs: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return NOON + timedelta(minutes=self.minute)

    def round(self, *findings: Finding, at: float | None = None) -> Round:
        self.minute = self.minute if at is None else at
        router = Router(self.services, self.now, self._dry_run)
        return router.round(lambda reached, _: Reading(findings, reached, is_complete=True))

    def _dry_run(self, command: str) -> DryRun:
        self.dry_runs.append(command)
        return DryRun(command, 0, "3 records pass now", 0.1)

    @property
    def told(self) -> list[Mapping[str, Any]]:
        return [one.body for one in self.channels.requests]

    @property
    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.told]

    def incidents(self) -> Sequence[Incident]:
        with self.services.database.connection() as connection:
            return list(reversed(store.incidents(connection)))

    def deliveries(self, number: int) -> list[dict[str, Any]]:
        with self.services.database.connection() as connection:
            return store.deliveries(connection, number)

    def timeline(self, number: int) -> list[str]:
        with self.services.database.connection() as connection:
            return [line.kind for line in store.timeline(connection, number)]


def broken(event_id: int, name: str = "check:a", **others: object) -> Finding:
    return finding(name, event_id=event_id, **others)


def mended(event_id: int, name: str = "check:a", **others: object) -> Finding:
    return finding(name, event_id=event_id, is_fine=True, **others)
