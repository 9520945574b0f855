"""Figures of the stored incidents: what was promised, and how far it was kept (SA-81, SA-88)."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta

from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.incident_figures import MonthFigures, month_figures
from pipeline_platform.operations.plan import alertings
from pipeline_platform.partition_ranges import month_of, shifted
from pipeline_platform.runbook import Alerting
from pipeline_platform.services import Services

ALL_INCIDENTS = 1_000_000


def stored_figures(
    services: Services, months: int, now: datetime, told: Iterable[Alerting] | None = None
) -> list[MonthFigures]:
    """Return the figures of so many months up to this one, newest first; `told` says of whom.

    None is every pipeline and the platform itself. Incidents that began in the month before count
    for what they took of the first one.
    """
    this_month = month_of(now.date())
    starts = [datetime.combine(shifted(this_month, -back), time(), UTC) for back in range(months)]
    with services.database.connection() as connection:
        found = store.incidents(
            connection, since=min(starts) - timedelta(days=1), limit=ALL_INCIDENTS
        )
        watched = store.watched_periods(connection)
    whose = alertings().values() if told is None else told
    levels = {one.pipeline: one.alerts.service_level for one in whose}
    return month_figures(found, watched, levels, starts, now)
