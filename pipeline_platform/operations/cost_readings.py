"""Readings of cost: asked for, kept in PostgreSQL, and measured for the rules of X-10.

A reading covers a span of days and replaces what was known of them, in one transaction. One that
fails is kept too, with its reason: from then on nothing about cost is measurable (B-14).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg

from pipeline_platform.failures import BadInputError, InvalidRunbookError, PlatformError
from pipeline_platform.operations.cost import (
    Comparison,
    DayCost,
    against_day_before,
    against_history,
    month_cost,
    settled,
)
from pipeline_platform.operations.cost_explorer import daily_costs
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Measure, Scope
from pipeline_platform.quality.thresholds import MonthlyCost
from pipeline_platform.runbook import Runbook
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


def cost_measures(runbook: Runbook) -> Mapping[str, Measure[Any]]:
    """Return what measures each rule on cost that a runbook has, by the rule's name (X-10).

    Raises InvalidRunbookError for a rule that nothing measures.
    """
    found: dict[str, Measure[Any]] = {}
    for name, threshold in runbook.thresholds.items():
        if threshold.stage != "cost":
            continue
        if threshold.monthly_cost is not None:
            found[name] = partial(_of_month, name=name, limited=threshold.monthly_cost)
        elif name in _AGAINST:
            found[name] = partial(_compared, name=name, compare=_AGAINST[name])
        else:
            raise InvalidRunbookError(
                f"Nothing measures the rule {name} on cost of {runbook.pipeline}; give "
                f"it a monthly_cost, or name it {' or '.join(_AGAINST)}."
            )
    return found


def _history(days: list[DayCost]) -> Comparison | None:
    return against_history(days, operations_plan().cost.history_days)


_AGAINST: Mapping[str, Callable[[list[DayCost]], Comparison | None]] = {
    "cost_increase": against_day_before,  # SW-64
    "cost_anomaly": _history,  # SA-90
}


def _compared(
    scope: Scope[Any], name: str, compare: Callable[[list[DayCost]], Comparison | None]
) -> Labelled:
    """Measure how much more the latest settled day cost than what it is compared with, percent."""
    _, known, reason = _known_days(scope)
    compared = compare(known)
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


def _of_month(scope: Scope[Any], name: str, limited: MonthlyCost) -> Labelled:
    """Measure a service's cost of the month: its amount, or percent of its budget (ST-64, ST-94).

    Its parts are the amount to date, the budget, and the forecast for the month's end.
    """
    days, known, reason = _known_days(scope)
    currency = next((day.currency for day in reversed(days) if day.currency), None)
    if reason is None and currency not in {None, limited.currency}:
        reason = f"cost is told in {currency}, the limit of {limited.service} is {limited.currency}"
    if reason is not None:
        return {ALL: unmeasured(name, reason)}
    try:
        month = month_cost(days, known[-1].usage_date, limited.service)
    except BadInputError as error:
        return {ALL: unmeasured(name, str(error))}
    amounts = {
        "month_to_date": month.to_date,
        "budget": limited.budget,
        "forecast": month.forecast,
    }
    parts = {key: float(amount) for key, amount in amounts.items() if amount is not None}
    words = [f"{key.replace('_', ' ')} {parts[key]:.2f} {limited.currency}" for key in parts]
    spent = month.to_date if limited.budget is None else 100 * month.to_date / limited.budget
    return {
        f"{month.month:%Y-%m}": Measurement(
            name,
            float(spent),
            sample_size=month.known_days,
            offenders=(f"{limited.service} in {month.month:%Y-%m}: {', '.join(words)}",),
            parts=parts,
        )
    }


def _known_days(scope: Scope[Any]) -> tuple[list[DayCost], list[DayCost], str | None]:
    """Return the known days that a rule may need, the settled of them, and why none can be used."""
    plan = operations_plan().cost
    today = scope.run.now().date()
    # The day that settles today may not have been read yet.
    oldest = today - timedelta(days=plan.settled_after_days + 1)
    # As far back as a month before it and the days that it is compared with.
    first = oldest - timedelta(days=max(plan.history_days, plan.read_days))
    with scope.run.services.database.connection() as connection:
        reading = last_reading(connection)
        days = stored_costs(connection, first, today - timedelta(days=1))
    known = settled(days, plan.settled_after_days)
    return days, known, _why_not(scope, reading, known, oldest)


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
