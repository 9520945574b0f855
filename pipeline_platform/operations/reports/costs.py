"""What days cost by service, or why that is not known (B-14)."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from pipeline_platform.operations.cost import DayCost
from pipeline_platform.operations.cost_readings import last_reading, stored_costs
from pipeline_platform.operations.reports.pages import Plot, Section
from pipeline_platform.operations.reports.reviewed import Reviewed
from pipeline_platform.partition_ranges import ONE_DAY


def cost(reviewed: Reviewed) -> Section:
    """Return what the known days of the period cost, by service (SA-34, SW-9)."""
    last = reviewed.now.date() - ONE_DAY
    first = min(reviewed.first.date(), last)
    return cost_of(reviewed, "Cost", first, last, first - (last - first + ONE_DAY))


def cost_of(reviewed: Reviewed, title: str, first: date, last: date, before_first: date) -> Section:
    """Return the cost of days, both included, against those before; or why it is not known."""
    with reviewed.services.database.connection() as connection:
        reading = last_reading(connection)
        days = stored_costs(connection, first, last)
        before = stored_costs(connection, before_first, first - ONE_DAY)
    refusal = reading.reason if reading else None
    return _cost_section(reviewed, title, days, before, refusal, (last - first).days + 1)


def _cost_section(
    reviewed: Reviewed,
    title: str,
    days: Sequence[DayCost],
    before: Sequence[DayCost],
    refusal: str | None,
    wanted_days: int,
) -> Section:
    """Return what days cost by service; without a source or a reading, say that (B-14)."""
    if reviewed.services.settings.cost_source is None:
        return Section(title, (), "Not configured: set PLATFORM_COST_SOURCE.")
    if not days:
        return Section(title, (), f"Not measurable: {refusal or 'no day of it was read'}.")
    amounts, amounts_before = _by_service(days), _by_service(before)
    rows = [
        {
            "service": name,
            "cost": f"{amounts.get(name, Decimal(0)):.2f}",
            "before": f"{amounts_before[name]:.2f}" if name in amounts_before else None,
        }
        for name in sorted({*amounts, *amounts_before}, key=lambda one: -amounts.get(one, 0))
    ]
    currency = next((day.currency for day in days if day.currency), "")
    total, total_before = sum(amounts.values()), sum(amounts_before.values())
    known = (
        "all days known"
        if len(days) == wanted_days
        else f"{len(days)} of {wanted_days} days are known"
    )
    sentence = f"{total:.2f} {currency}, {total_before:.2f} before; {known}."
    points = [(day.usage_date.isoformat(), float(day.total)) for day in days]
    return Section(title, rows, sentence, [Plot("Cost by day", points)])


def _by_service(days: Sequence[DayCost]) -> dict[str, Decimal]:
    amounts: dict[str, Decimal] = {}
    for day in days:
        for name, amount in day.services.items():
            amounts[name] = amounts.get(name, Decimal(0)) + amount
    return amounts
