"""`pipeline-platform cost`: what AWS charged, by day or month and by service."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Annotated

import typer

from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import NotFoundError
from pipeline_platform.operations.cost import DayCost
from pipeline_platform.operations.cost_readings import (
    Reading,
    last_reading,
    read_costs,
    stored_costs,
)
from pipeline_platform.run_context import utc_now

DEAREST = 3


def cost(
    days: Annotated[int, typer.Option(min=1, help="So many days up to yesterday.")] = 30,
    monthly: Annotated[bool, typer.Option("--monthly", help="By month instead of day.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the source first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show blended cost by day and by service (SW-9, SW-41, SA-49); exit code 1 if it is not known.

    With --json one row for each day and service.
    """
    with plain_failures(), services() as opened:
        now = utc_now()
        if refresh:
            read_costs(opened, now)
        with opened.database.connection() as connection:
            reading = last_reading(connection)
            known = stored_costs(
                connection, now.date() - timedelta(days=days), now.date() - timedelta(days=1)
            )
        is_configured = opened.settings.cost_source is not None
        if reading is None:
            raise NotFoundError(
                "No cost was ever read; `cost --refresh` or the job operations_daily_cost reads it."
            )
        by_service = service_rows(known, monthly=monthly)
        if as_json:
            show_rows("Cost", by_service, as_json=True)
        else:
            title = "Cost by month" if monthly else "Cost by day"
            show_rows(title, period_rows(known, monthly=monthly), as_json=False, empty="unknown.")
            shown = by_service if monthly else service_totals(known)
            show_rows("Cost by service", shown, as_json=False, empty="unknown.")
        _say_state(reading, known, days, is_configured=is_configured)
    is_known = is_configured and reading.is_read and len(known) == days
    raise typer.Exit(0 if is_known else FOUND_FAULTS)


def service_rows(days: Sequence[DayCost], *, monthly: bool) -> list[Mapping[str, object]]:
    """Return one row for each day or month and service, the dearest first."""
    return [
        {
            "month" if monthly else "day": period,
            "service": service,
            "cost": amount,
            "currency": currency,
            "estimated": is_estimated,
        }
        for period, amounts, currency, is_estimated in _periods(days, monthly=monthly)
        for service, amount in amounts.items()
    ]


def period_rows(days: Sequence[DayCost], *, monthly: bool) -> list[Mapping[str, object]]:
    """Return one row for each day or month: total, change against the one before, dearest."""
    rows: list[Mapping[str, object]] = []
    before: Decimal | None = None
    for period, amounts, currency, is_estimated in _periods(days, monthly=monthly):
        total = sum(amounts.values(), Decimal(0))
        change = 100 * (total - before) / before if before is not None and before > 0 else None
        rows.append(
            {
                "month" if monthly else "day": period,
                "cost": f"{total:.2f}",
                "currency": currency,
                "change %": None if change is None else f"{change:+.1f}",
                "dearest": [f"{name} {cost:.2f}" for name, cost in list(amounts.items())[:DEAREST]],
                "estimated": "yes" if is_estimated else "no",
            }
        )
        before = total
    return rows


def service_totals(days: Sequence[DayCost]) -> list[Mapping[str, object]]:
    """Return each service's cost over all days and its share, the dearest first."""
    amounts = _sum(days)
    total = sum(amounts.values(), Decimal(0))
    return [
        {
            "service": service,
            "cost": f"{amount:.2f}",
            "share %": f"{100 * amount / total:.1f}" if total > 0 else None,
        }
        for service, amount in amounts.items()
    ]


def _periods(
    days: Sequence[DayCost], *, monthly: bool
) -> list[tuple[str, dict[str, Decimal], str | None, bool]]:
    """Return period, cost by service, currency and whether a part of it is estimated."""
    found = []
    for period, group in groupby(days, lambda day: _period(day.usage_date, monthly=monthly)):
        members = list(group)
        currency = next((day.currency for day in members if day.currency), None)
        is_estimated = any(day.is_estimated for day in members)
        found.append((period, _sum(members), currency, is_estimated))
    return found


def _period(day: date, *, monthly: bool) -> str:
    return f"{day:%Y-%m}" if monthly else day.isoformat()


def _sum(days: Sequence[DayCost]) -> dict[str, Decimal]:
    """Return the cost by service, the dearest first."""
    amounts: dict[str, Decimal] = {}
    for day in days:
        for service, amount in day.services.items():
            amounts[service] = amounts.get(service, Decimal(0)) + amount
    return dict(sorted(amounts.items(), key=lambda one: (-one[1], one[0])))


def _say_state(
    reading: Reading, known: Sequence[DayCost], days: int, *, is_configured: bool
) -> None:
    """Say how old the figures are, and what hinders better ones."""
    if not is_configured:
        errors.print("Cost source not configured: set PLATFORM_COST_SOURCE.", style="yellow")
    elif reading.reason is not None:
        errors.print(f"Cost is not measurable now: {reading.reason}", markup=False, style="yellow")
    if len(known) < days:
        errors.print(f"{len(known)} of {days} days are known.", highlight=False)
    errors.print(f"Last asked at {reading.read_at:%Y-%m-%d %H:%M} UTC.", highlight=False)
