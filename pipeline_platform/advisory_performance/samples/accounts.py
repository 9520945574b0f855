"""Accounts and what their vendor truthfully reports of them, day by day.

A vendor's own return is computed here from the rounded figures that it delivers, by the textbook
formula of a single day; nothing of the platform's own computation is used.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from pipeline_platform.advisory_performance.samples.market import Market

CENT = Decimal("0.01")
FLOW_PROBABILITY = 0.04
YEARLY_FEE = 0.006
MONTHS_PER_YEAR = 12


@dataclass(frozen=True)
class VendorStyle:
    """What a vendor reports: currency, classes, timings of flows, fees and the basis of returns."""

    vendor: str
    account_format: str
    currency: str
    account_classes: tuple[str, ...]
    timings: tuple[str, ...]
    has_fees: bool
    basis: str
    decimals: int
    month_end_periods: tuple[str, ...]


STYLES = (
    VendorStyle(
        "standard", "A-{:04d}", "USD", ("standard",), ("start_of_day", "end_of_day"), False,
        "net", 10, (),
    ),
    VendorStyle(
        "northgate", "ng-{:d}", "EUR", ("private", "institutional"), ("end_of_day",), True,
        "net", 8, ("mtd",),
    ),
    VendorStyle(
        "meridian", "m{:06d}", "USD", ("private", "institutional"),
        ("start_of_day", "end_of_day", "weighted"), True, "net", 8, ("mtd", "qtd"),
    ),
    VendorStyle(
        "harbor", "hb_{:d}", "USD", ("private", "institutional"), ("weighted",), True,
        "gross", 9, ("mtd", "qtd", "ytd"),
    ),
)  # fmt: skip


@dataclass
class Flow:
    """One external flow; `weight` is the fraction of the day that it was in the account."""

    amount: Decimal
    timing: str
    weight: Decimal | None = None
    settlement_date: date | None = None
    flow_id: str | None = None


@dataclass
class AccountDay:
    """What a vendor knows of an account on a day; `reported` holds returns by period."""

    style: VendorStyle
    account_id: str
    account_class: str
    day: date
    value: Decimal
    previous_value: Decimal
    fees: Decimal | None = None
    flow: Flow | None = None
    reported: dict[str, float] = field(default_factory=dict)

    def daily_return(
        self,
        *,
        flow_factor: int = 1,
        timing: str | None = None,
        basis: str | None = None,
    ) -> float:
        """Return the day's return as the vendor computes it; the arguments make it wrong.

        r = (V1 - V0 - F) / (V0 + w F), with w = 1 for a flow at the start of the day, 0 at its
        end; gross of fees adds the day's fees to V1.
        """
        amount = float(self.flow.amount) * flow_factor if self.flow else 0.0
        weight = _weight(self.flow, timing) if self.flow else 0.0
        closing = float(self.value)
        if (basis or self.style.basis) == "gross":
            closing += float(self.fees or 0)
        opening = float(self.previous_value)
        return (closing - opening - amount) / (opening + weight * amount)


def _weight(flow: Flow, timing: str | None) -> float:
    if (timing or flow.timing) == "weighted":
        return float(flow.weight if flow.weight is not None else Decimal("0.5"))
    return 1.0 if (timing or flow.timing) == "start_of_day" else 0.0


def account_days(
    style: VendorStyle, number: int, market: Market, seed: int
) -> Iterator[AccountDay]:
    """Live one account through the market and yield its days, oldest first.

    Every fifth account opens later than the first day, every seventh closes early by a full
    withdrawal at the end of a day.
    """
    source = random.Random(f"{seed}/{style.vendor}/{number}")  # noqa: S311 - sample data
    weights = [source.random() for _ in market.returns[0]]
    shares = [weight / sum(weights) for weight in weights]
    first = source.randrange(len(market.days) // 2) if number % 5 == 4 else 0
    last = len(market.days) + 1
    if number % 7 == 6:
        last = first + max(2, (len(market.days) - first) * 2 // 3)
    value = _cents(source.uniform(50_000, 5_000_000))
    growth: dict[str, float] = {}
    account_class = source.choice(style.account_classes)
    account_id = style.account_format.format(number + 1)
    for index in range(first, min(last, len(market.days))):
        day = market.days[index]
        previous = value
        is_first, is_last = index == first, index == last - 1
        made = AccountDay(style, account_id, account_class, day, value, previous)
        if not is_first:
            change = sum(
                share * move for share, move in zip(shares, market.returns[index], strict=True)
            )
            _move(made, change, source, is_last=is_last, is_month_end=_ends_month(market, index))
            value = made.value
            _report(made, growth, market, index)
        yield made


def _move(
    made: AccountDay, change: float, source: random.Random, *, is_last: bool, is_month_end: bool
) -> None:
    style, opening = made.style, float(made.previous_value)
    if is_last:
        grown = _cents(opening * (1 + change))
        made.flow = Flow(-grown, "end_of_day" if "end_of_day" in style.timings else "weighted")
        if made.flow.timing == "weighted":
            made.flow.weight = Decimal(0)
        made.value = Decimal("0.00")
    elif source.random() < FLOW_PROBABILITY:
        amount = _cents(opening * source.choice((-1, 1)) * source.uniform(0.03, 0.25))
        timing = source.choice(style.timings)
        weight = Decimal(source.randrange(1, 8)) / 8 if timing == "weighted" else None
        made.flow = Flow(amount, timing, weight)
        held = float(amount) * _weight(made.flow, None)
        made.value = _cents(opening + float(amount) + (opening + held) * change)
    else:
        made.value = _cents(opening * (1 + change))
    if made.flow:
        made.flow.flow_id = f"F{made.day:%y%m%d}{made.account_id[-4:]}"
        made.flow.settlement_date = made.day + timedelta(days=2)
    if style.has_fees:
        made.fees = Decimal("0.00")
        if is_month_end and not is_last:
            made.fees = _cents(float(made.value) * YEARLY_FEE / MONTHS_PER_YEAR)
            made.value -= made.fees


def _report(made: AccountDay, growth: dict[str, float], market: Market, index: int) -> None:
    """Report the day and, on a month's last day, the linked longer periods."""
    daily = made.daily_return()
    made.reported["daily"] = daily
    before = market.days[index - 1]
    for period in made.style.month_end_periods:
        if _starts_period(period, before, made.day):
            growth[period] = 1.0
        growth[period] = growth.get(period, 1.0) * (1 + daily)
        if _ends_month(market, index):
            made.reported[period] = growth[period] - 1


def _starts_period(period: str, before: date, day: date) -> bool:
    if period == "mtd":
        return before.month != day.month
    if period == "qtd":
        return (before.month - 1) // 3 != (day.month - 1) // 3
    return before.year != day.year


def _ends_month(market: Market, index: int) -> bool:
    if index + 1 < len(market.days):
        return market.days[index + 1].month != market.days[index].month
    following = market.days[index] + timedelta(days=1)
    while following.weekday() > 4:
        following += timedelta(days=1)
    return following.month != market.days[index].month


def _cents(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(CENT, rounding=ROUND_HALF_EVEN)
