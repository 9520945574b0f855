"""Capacity as incidents: who is told that something will be full, before it is (SA-90, SW-66)."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from pipeline_platform.operations.alerting import Reading, Round, Router
from pipeline_platform.operations.capacity import Outlook, finding_of, outlooks
from pipeline_platform.operations.growth import series_of
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.services import Services

FORECAST_DAYS = 90


def look_ahead(
    services: Services, pipelines: Iterable[str], today: date, forecast_days: int = FORECAST_DAYS
) -> list[Outlook]:
    """Return the outlook of every table that is partitioned by day, of database and disk."""
    names = list(pipelines)
    limits = {
        series: wanted.limit
        for name in names
        for series, wanted in runbooks()[name].capacity.items()
    }
    series = series_of(services, names, today)
    return outlooks(series, limits, today=today, horizon_days=forecast_days)


def tell_of(services: Services, found: Sequence[Outlook], now: datetime) -> Round:
    """Let incidents follow from each series whose limit stands in a runbook.

    A limit that is not met any more ends its incident. Raises UnavailableError if rounds of others
    leave no time for this one.
    """
    findings = [
        finding
        for runbook in runbooks().values()
        for one in found
        if one.series.name in runbook.capacity
        and (finding := finding_of(one, runbook, now)) is not None
    ]
    return Router(services).round_when_free(
        lambda reached, _: Reading(tuple(findings), reached, is_complete=True)
    )
