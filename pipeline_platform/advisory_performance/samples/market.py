"""Real daily returns of three shares, laid on the calendar that is wanted."""

import csv
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

PRICES = Path(__file__).parent / "prices_2004_2014.csv"
FRIDAY = 4


@dataclass(frozen=True)
class Market:
    """Business days, oldest first, and the return of each share on each of them."""

    days: tuple[date, ...]
    returns: tuple[tuple[float, ...], ...]


@cache
def price_returns() -> tuple[tuple[float, ...], ...]:
    """Return the day-on-day returns of every share, in the order of the price file."""
    with PRICES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows.sort(key=lambda row: datetime.strptime(row[0], "%m/%d/%Y").date())  # noqa: DTZ007
    prices = [[float(cell) for cell in row[1:]] for row in rows]
    return tuple(
        tuple(now / before - 1 for before, now in zip(earlier, later, strict=True))
        for earlier, later in pairwise(prices)
    )


def business_days(end: date, count: int) -> list[date]:
    """Return the last `count` days from Monday to Friday up to `end`, oldest first."""
    days: list[date] = []
    day = end
    while len(days) < count:
        if day.weekday() <= FRIDAY:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def market_until(end: date, day_count: int) -> Market:
    """Lay the most recent price returns on the business days up to `end`.

    Where more days are wanted than the file has, its history is repeated from the start.
    """
    history = price_returns()
    repeated = history * (day_count // len(history) + 1)
    return Market(tuple(business_days(end, day_count)), repeated[-day_count:])
