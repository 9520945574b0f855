"""The platform's health as the sensor of alerts sees it: kept as periods, told as incidents.

A dependency that does not work is a fault of the platform itself; all of them together are one
incident, which ends when the probes are green again. What failed once is asked again before it
counts: one slow answer is no outage.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from pipeline_platform.operations.alerting import Read, Reading
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.health import Health, Probes
from pipeline_platform.operations.health_periods import remember_probe
from pipeline_platform.operations.plan import operations_plan, runbooks
from pipeline_platform.runbook import Alerting
from pipeline_platform.services import Services

AGAIN_AFTER_SECONDS = 2.0
DAEMON = "dagster"
"""The dependency that `alerts.daemon` tells of by itself."""


@dataclass(frozen=True)
class HealthWatch:
    """Probes a platform, remembers what they said, and says what is broken."""

    services: Services
    instance: dg.DagsterInstance

    def look(self) -> list[Finding]:
        """Probe, keep the answer, and return a finding for each dependency."""
        health = self._probed()
        failing = sorted(n for n, one in health.dependencies.items() if one.status != "ok")
        with self.services.database.transaction() as connection:
            remember_probe(connection, failing, health.checked_at)
        return health_findings(health, operations_plan())

    def _probed(self) -> Health:
        probes = Probes(self.services, self.instance, runbooks())
        try:
            health = probes.report()
            if health.status != "ok":
                time.sleep(AGAIN_AFTER_SECONDS)
                health = probes.report()
            return health
        finally:
            probes.close()


def with_findings(read: Read, findings: Sequence[Finding]) -> Read:
    """Return a reading of the log that ends with findings of another look at the present."""

    def read_both(positions: Mapping[str, int], now: datetime) -> Reading:
        log = read(positions, now)
        if not log.is_complete:
            return log
        return Reading((*log.findings, *findings), log.reached, is_complete=True)

    return read_both


def health_findings(health: Health, alerting: Alerting) -> list[Finding]:
    """Say of each dependency whether it works; of Dagster's daemon others do."""
    name = alerting.alerts.health
    if name is None:
        return []
    route = alerting.routes[name]
    return [
        Finding(
            pipeline=alerting.pipeline,
            name=f"health:{dependency}",
            kind="health",
            subject=dependency,
            is_fine=one.status == "ok",
            at=health.checked_at,
            severity=route.severity,
            route=name,
            response_minutes=alerting.response_minutes(name),
            sentence=f"The platform's {dependency} does not work: {one.reason}",
            remedy=route.remedy.filled(pipeline=alerting.pipeline, asset=dependency, run=""),
        )
        for dependency, one in health.dependencies.items()
        if dependency != DAEMON or alerting.alerts.daemon is None
    ]
