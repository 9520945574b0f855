"""Figures of the stored incidents: what was promised, and how far it was kept (SA-81, SA-88).

The checks of this are not told: they count incidents, each of which was, and an incident about too
many incidents would count itself.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.health_periods import probed_periods
from pipeline_platform.operations.incident_figures import MonthFigures, month_figures
from pipeline_platform.operations.plan import alertings
from pipeline_platform.partition_ranges import month_of, shifted
from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Measure, Scope
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
        probed = probed_periods(connection, min(starts))
    whose = alertings().values() if told is None else told
    levels = {one.pipeline: one.alerts.service_level for one in whose}
    return month_figures(found, watched, levels, starts, now, probed)


def availability(scope: Scope[Any]) -> Labelled:
    """Measure how much of this month's watched time the pipeline was available, in percent (SA-88).

    From probes of the platform's health and from critical incidents; the sample is the minutes that
    were probed, so without probes it is not measurable.
    """
    (month,) = _this_month(scope)
    if month.availability_pct is None or not month.probed_minutes:
        reason = (
            f"no probe of the health was recorded in {month.month}; the sensor of alerts makes them"
        )
        return {ALL: unmeasured("availability", reason)}
    up = month.watched_minutes - month.down_minutes
    return {
        ALL: Measurement(
            "availability", month.availability_pct, up, month.watched_minutes,
            sample_size=int(month.probed_minutes),
        )
    }  # fmt: skip


def mean_time_to_recovery(scope: Scope[Any]) -> Labelled:
    """Measure the mean time from broken to green of the incidents that began this month (SA-81)."""
    (month,) = _this_month(scope)
    name = "mean_time_to_recovery"
    if not month.watched_minutes:
        return {ALL: unmeasured(name, f"nobody watched in {month.month}")}
    if month.recover_minutes is None and month.unresolved:
        reason = f"none of the {month.unresolved} incidents of {month.month} is resolved yet"
        return {ALL: unmeasured(name, reason)}
    mended = month.incidents - month.unresolved
    return {ALL: Measurement(name, month.recover_minutes or 0.0, sample_size=mended)}


MEASURES: Mapping[str, Measure[Any]] = {
    "availability": availability,
    "mean_time_to_recovery": mean_time_to_recovery,
}
"""What every pipeline may state thresholds on."""


def _this_month(scope: Scope[Any]) -> list[MonthFigures]:
    return stored_figures(scope.run.services, 1, scope.run.now(), [scope.run.runbook])
