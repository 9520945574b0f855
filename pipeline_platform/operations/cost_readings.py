"""Readings of cost: asked for, kept in PostgreSQL, and measured for the rules of X-10.

A reading covers a span of days and replaces what was known of them, in one transaction. One that
fails is kept too, with its reason: from then on nothing about cost is measurable (B-14).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from pipeline_platform.failures import PlatformError
from pipeline_platform.operations.cost import (
    Comparison,
    DayCost,
    against_day_before,
    against_history,
    settled,
)
from pipeline_platform.operations.cost_explorer import daily_costs
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Scope
from pipeline_platform.services import Services

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Reading:
    """How a reading of the cost source ended; `reason` is None for one that succeeded."""

    read_at: datetime
    first_date: date
    last_date: date
    reason: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether the source told the cost."""
        return self.reason is None


def read_costs(services: Services, now: datetime, run_id: str | None = None) -> Reading:
    """Ask the cost source for the last days up to yesterday and keep what it says.

    What it refuses or does not answer is no exception but a reading with a reason. Raises
    UnavailableError only when our own database does not answer.
    """
    today = now.date()
    first = today - timedelta(days=operations_plan().cost.read_days)
    days: list[DayCost] = []
    reason = None
    try:
        days = daily_costs(services.settings, first, today)
    except PlatformError as error:
        reason = str(error)
    reading = Reading(now, first, today - timedelta(days=1), reason)
    with services.database.transaction() as connection:
        _keep(connection, reading, days, run_id)
    return reading


def last_reading(conn: Connection) -> Reading | None:
    """Return how the latest reading ended; None before the first one."""
    found = conn.execute(
        "SELECT read_at, first_date, last_date, reason FROM cost_readings"
        " ORDER BY read_at DESC, reading_id DESC LIMIT 1"
    ).fetchone()
    return Reading(*found) if found else None


def stored_costs(conn: Connection, first: date, last: date) -> list[DayCost]:
    """Return the known days from first to last, both included, oldest first."""
    rows = conn.execute(
        "SELECT day.usage_date, day.currency, day.is_estimated, day.read_at, cost.service,"
        " cost.amount FROM daily_cost AS day LEFT JOIN daily_service_cost AS cost"
        " USING (usage_date) WHERE day.usage_date BETWEEN %s AND %s"
        " ORDER BY day.usage_date, cost.amount DESC, cost.service",
        (first, last),
    ).fetchall()
    days: dict[date, tuple[str | None, bool, datetime, dict[str, Decimal]]] = {}
    for usage_date, currency, is_estimated, read_at, service, amount in rows:
        known = days.setdefault(usage_date, (currency, is_estimated, read_at, {}))
        if service is not None:
            known[3][service] = amount
    return [
        DayCost(day, services, currency, is_estimated, read_at)
        for day, (currency, is_estimated, read_at, services) in days.items()
    ]


def cost_increase(scope: Scope[Any]) -> Labelled:
    """Measure how much more the latest settled day cost than the day before, percent (SW-64)."""
    return _measured(scope, "cost_increase", against_day_before)


def cost_anomaly(scope: Scope[Any]) -> Labelled:
    """Measure how far the latest settled day is above the median before it, percent (SA-90)."""
    history_days = operations_plan().cost.history_days
    return _measured(scope, "cost_anomaly", lambda days: against_history(days, history_days))


def _measured(
    scope: Scope[Any], name: str, compare: Callable[[list[DayCost]], Comparison | None]
) -> Labelled:
    plan = operations_plan().cost
    today = scope.run.now().date()
    # The day that settles today may not have been read yet.
    oldest = today - timedelta(days=plan.settled_after_days + 1)
    with scope.run.services.database.connection() as connection:
        reading = last_reading(connection)
        days = stored_costs(
            connection, oldest - timedelta(days=plan.history_days), today - timedelta(days=1)
        )
    known = settled(days, plan.settled_after_days)
    compared = compare(known)
    reason = _why_not(scope, reading, known, oldest)
    if reason is None and compared is None:
        reason = f"no day before {known[-1].usage_date} was read that it could be compared with"
    if reason is None and compared is not None and compared.change_pct is None:
        reason = f"nothing was charged that {compared.usage_date} could be compared with"
    if reason is not None or compared is None:
        return {ALL: unmeasured(name, reason or "")}
    return {
        str(compared.usage_date): Measurement(
            name,
            compared.change_pct,
            float(compared.cost),
            float(compared.base),
            compared.sample_size,
            compared.rises,
        )
    }


def _why_not(
    scope: Scope[Any], reading: Reading | None, known: list[DayCost], oldest: date
) -> str | None:
    """Say why there is nothing to compare, if so."""
    if scope.run.services.settings.cost_source is None:
        return "no source of cost is configured (PLATFORM_COST_SOURCE)"
    if reading is None:
        return "cost was never read; the job operations_daily_cost reads it"
    if reading.reason is not None:
        return reading.reason
    if not known or known[-1].usage_date < oldest:
        return f"cost was last read at {reading.read_at:%Y-%m-%d %H:%M}, no later day is settled"
    return None


def _keep(conn: Connection, reading: Reading, days: list[DayCost], run_id: str | None) -> None:
    # Two readings at once would meet at the same days; the second one waits.
    conn.execute("LOCK TABLE daily_cost IN SHARE ROW EXCLUSIVE MODE")
    conn.execute(
        "INSERT INTO cost_readings (read_at, first_date, last_date, is_read, reason, run_id)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (
            reading.read_at,
            reading.first_date,
            reading.last_date,
            reading.is_read,
            reading.reason,
            run_id,
        ),
    )
    conn.execute(
        "DELETE FROM daily_cost WHERE usage_date = ANY(%s)", ([day.usage_date for day in days],)
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO daily_cost (usage_date, currency, is_estimated, read_at)"
            " VALUES (%s, %s, %s, %s)",
            [(day.usage_date, day.currency, day.is_estimated, reading.read_at) for day in days],
        )
        cursor.executemany(
            "INSERT INTO daily_service_cost (usage_date, service, amount) VALUES (%s, %s, %s)",
            [
                (day.usage_date, service, amount)
                for day in days
                for service, amount in day.services.items()
            ],
        )
