"""Cost by day and service: what an answer of the Cost Explorer says, and how a day compares.

Pure. Amounts are decimals of one currency, blended cost (SW-9, SA-49), and may be negative where
a credit or refund was booked.
"""

import calendar
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from statistics import mean, median
from typing import Any

from pipeline_platform.failures import BadInputError

METRIC = "BlendedCost"
NOTHING = Decimal(0)
FORECAST_DAYS = 7
"""Days whose mean goes on until the month's end: every day of the week once."""
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayCost:
    """What one day (UTC) cost, by service; `currency` is None where nothing was charged.

    `is_estimated` is AWS's word: true until the month's bill is closed. `read_at` is the instant
    at which the day was last read; None before it is stored.
    """

    usage_date: date
    services: Mapping[str, Decimal] = field(default_factory=dict)
    currency: str | None = None
    is_estimated: bool = False
    read_at: datetime | None = None

    @property
    def total(self) -> Decimal:
        """The cost of all services."""
        return sum(self.services.values(), NOTHING)


@dataclass(frozen=True)
class Comparison:
    """A day's cost against what it is compared with, in percent above it.

    `rises` are the services that rose, the most first; `sample_size` counts the days compared with.
    """

    usage_date: date
    cost: Decimal
    base: Decimal
    sample_size: int
    rises: tuple[str, ...] = ()

    @property
    def change_pct(self) -> float | None:
        """How much more the day cost, in percent; None without a positive cost to compare with."""
        if self.base <= 0:
            return None
        return float(100 * (self.cost - self.base) / self.base)


@dataclass(frozen=True)
class MonthCost:
    """What a service cost in a month up to its latest known day, and what it will have at its end.

    `forecast` is None for a month that is known to its end, or where fewer than FORECAST_DAYS
    settled days are known. `known_days` counts the days of the month that are known.
    """

    month: date
    to_date: Decimal
    known_days: int
    forecast: Decimal | None = None


def day_costs(results: Iterable[Mapping[str, Any]], first: date, last: date) -> list[DayCost]:
    """Return each day from first to the day before last, from `ResultsByTime` of all pages.

    Raises BadInputError for a day that is missing, an amount that is no number, or an answer in
    more than one currency.
    """
    services: dict[date, dict[str, Decimal]] = {}
    estimated: dict[date, bool] = {}
    currencies: set[str] = set()
    for result in results:
        day = date.fromisoformat(result["TimePeriod"]["Start"])
        amounts = services.setdefault(day, {})
        estimated[day] = estimated.get(day, False) or bool(result.get("Estimated"))
        for group in result.get("Groups", []):
            service, amount, currency = _group(day, group)
            amounts[service] = amounts.get(service, NOTHING) + amount
            currencies.add(currency)
    if len(currencies) > 1:
        raise BadInputError(
            f"The Cost Explorer answered in {', '.join(sorted(currencies))}; cost in more than one "
            "currency can't be added up."
        )
    only = next(iter(currencies), None)
    wanted = [first + timedelta(days=count) for count in range((last - first).days)]
    missing = [day for day in wanted if day not in services]
    if missing:
        raise BadInputError(
            f"The Cost Explorer answered without {len(missing)} of {len(wanted)} days, the first "
            f"of them {missing[0]}; it has cost from 24 hours after it was enabled on."
        )
    return [
        DayCost(day, services[day], only if services[day] else None, estimated[day])
        for day in wanted
    ]


def _group(day: date, group: Mapping[str, Any]) -> tuple[str, Decimal, str]:
    try:
        amount = group["Metrics"][METRIC]
        return str(group["Keys"][0]), Decimal(amount["Amount"]), str(amount["Unit"])
    except (KeyError, IndexError, TypeError, InvalidOperation):
        raise BadInputError(
            f"The Cost Explorer's answer of {day} holds a service without a {METRIC} that is a "
            "number."
        ) from None


def settled(days: Sequence[DayCost], after_days: int) -> list[DayCost]:
    """Return the days that were read so many days later or more, oldest first.

    AWS adds to a day for a day or two; a day that was read too early looks cheaper than it was.
    """
    return sorted(
        (
            day
            for day in days
            if day.read_at is not None
            and day.read_at.date() - day.usage_date >= timedelta(days=after_days)
        ),
        key=lambda day: day.usage_date,
    )


def against_day_before(days: Sequence[DayCost]) -> Comparison | None:
    """Compare the last day with the one before it (SW-64); None if that one is not there."""
    if not days:
        return None
    last = days[-1]
    before = next((day for day in days if day.usage_date == last.usage_date - _ONE_DAY), None)
    if before is None:
        return None
    return _compared(last, before.total, before.services, 1)


def against_history(days: Sequence[DayCost], history_days: int) -> Comparison | None:
    """Compare the last day with the median of the days before it (SA-90, X-10); None if none is.

    The median, because one dear day must not hide the next one.
    """
    if not days:
        return None
    last = days[-1]
    start = last.usage_date - timedelta(days=history_days)
    history = [day for day in days if start <= day.usage_date < last.usage_date]
    if not history:
        return None
    names = {name for day in history for name in day.services}
    usual = {name: median(day.services.get(name, NOTHING) for day in history) for name in names}
    return _compared(last, median(day.total for day in history), usual, len(history))


def month_cost(days: Sequence[DayCost], settled_last: date, service: str) -> MonthCost:
    """Add up the month of the last settled day (ST-64, ST-94, X-10).

    So a month is judged until its last day is settled, and a new one from its first settled day
    on; days after that count as far as they are known, since cost only grows until it is settled.
    Raises BadInputError for a month with a gap, and for a service that no known day names: one
    that is misspelt would cost nothing for ever.
    """
    ordered = sorted(days, key=lambda day: day.usage_date)
    month = settled_last.replace(day=1)
    length = calendar.monthrange(month.year, month.month)[1]
    known = [day for day in ordered if day.usage_date.replace(day=1) == month]
    if not known or len(known) != known[-1].usage_date.day:
        raise BadInputError(f"The cost of {month:%Y-%m} is not known from its first day on.")
    names = sorted({name for day in ordered for name in day.services})
    if service not in names:
        raise BadInputError(
            f"No day since {ordered[0].usage_date} has cost of {service!r}; services with cost are "
            f"{', '.join(names) or 'none'}."
        )
    amounts = {day.usage_date: day.services.get(service, NOTHING) for day in ordered}
    to_date = sum((amounts[day.usage_date] for day in known), NOTHING)
    final = [amount for day, amount in amounts.items() if day <= settled_last]
    if len(known) == length or len(final) < FORECAST_DAYS:
        return MonthCost(month, to_date, len(known))
    usual = mean(final[-FORECAST_DAYS:])
    # AWS still adds to a day that is not settled: it will be at least a usual one.
    growth = sum(
        (max(usual - amount, NOTHING) for day, amount in amounts.items() if day > settled_last),
        NOTHING,
    )
    forecast = to_date + growth + usual * (length - len(known))
    return MonthCost(month, to_date, len(known), forecast)


def _compared(
    last: DayCost, base: Decimal, services: Mapping[str, Decimal], sample_size: int
) -> Comparison:
    rises = {
        name: last.services.get(name, NOTHING) - services.get(name, NOTHING)
        for name in {*last.services, *services}
    }
    rising = sorted((name for name in rises if rises[name] > 0), key=lambda name: -rises[name])
    shown = tuple(f"{name} +{rises[name]:.2f} {last.currency or ''}".strip() for name in rising)
    return Comparison(last.usage_date, last.total, base, sample_size, shown)
