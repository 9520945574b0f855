"""Returns over whole years: where they start, and how they are expressed per year.

A return of n years starts from the growth index as of the same day n years earlier: the last one
on or before that day, at most 31 days older. Returns are annualised only for a year or more
(GIPS 2020 for Firms, section 2.A: periods of less than a year must not be annualised).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline_platform.advisory_performance.calendar_days import (
    Days,
    calendar_years,
    month_index,
    years_before,
)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
AnnualisationBasis = Literal["calendar", "365"]

OLDEST_ANCHOR_DAYS = 31
"""How much older than the anniversary the index may be from which a return starts."""
DAYS_PER_YEAR = 365.0


def annualised(growth: Floats, exponent: Floats) -> Floats:
    """Return the return per year, growth ** (1 / years) - 1.

    NaN where the growth is below zero (it has no real root) or the exponent is NaN.
    """
    with np.errstate(invalid="ignore"):
        result = np.power(growth, exponent) - 1.0
        # By IEEE 754, 1 to the power of NaN is 1, and anything to the power of 1 is itself.
        result[np.isnan(exponent) | (growth < 0)] = np.nan
    return result


def inception_exponents(starts: Days, ends: Days, basis: AnnualisationBasis) -> Floats:
    """Return 1 / years between start and end, NaN where less than one calendar year lies between.

    Basis `calendar` counts whole years and days of the year begun; basis `365` divides the
    number of days by 365.
    """
    years = calendar_years(starts, ends)
    exponents = 1.0 / np.where(years < 1, np.nan, years)
    if basis == "365":
        exponents = np.where(years < 1, np.nan, DAYS_PER_YEAR / np.maximum(ends - starts, 1))
    return exponents


@dataclass(frozen=True)
class DayColumns:
    """The distinct days of a batch in order, and for every calendar day the last one until it.

    `months` counts the months since January 1970 of each distinct day.
    """

    days: Days
    months: Integers
    column_by_day: Integers
    first_day: int

    @classmethod
    def of(cls, *days: Days) -> "DayColumns":
        """Collect the distinct days."""
        if not any(len(some) for some in days):
            nothing = np.empty(0, np.int64)
            return cls(nothing.astype(np.int32), nothing, nothing, 0)
        first = min(int(some.min()) for some in days if len(some))
        last = max(int(some.max()) for some in days if len(some))
        is_there = np.zeros(last - first + 1, np.bool_)
        for some in days:
            is_there[some - first] = True
        distinct = (np.flatnonzero(is_there) + first).astype(np.int32)
        return cls(distinct, month_index(distinct), np.cumsum(is_there) - 1, first)

    def until(self, days: Days) -> Integers:
        """Return the column of the last distinct day on or before each day, -1 for none."""
        columns = self.column_by_day[np.maximum(days - self.first_day, 0)]
        return np.where(days < self.first_day, -1, columns)


@dataclass(frozen=True)
class IndexedDays:
    """Account-days by account and day column: the grid holds positions, filled forward."""

    grid: Integers | None
    width: int

    @classmethod
    def of(
        cls, account: Integers, column: Integers, account_count: int, width: int
    ) -> "IndexedDays":
        """Lay account-days, sorted by account and day, into the grid; none if it has no gaps."""
        if len(account) == account_count * width:
            return cls(None, width)
        grid = np.full((account_count, width), -1, np.int64)
        grid[account, column] = np.arange(len(account))
        np.maximum.accumulate(grid, axis=1, out=grid)
        return cls(grid, width)

    def latest(self, account: Integers, column: Integers) -> Integers:
        """Return the position of each account's last day until a day column, -1 for none."""
        flat = account * self.width + column
        if self.grid is None:
            return np.where(column < 0, -1, flat)
        return np.where(column < 0, -1, self.grid.reshape(-1)[np.maximum(flat, 0)])


@dataclass(frozen=True)
class Anniversary:
    """Where returns over some whole years start, for each distinct day of a batch.

    `column` is the last distinct day until the same day so many years before (-1 = none),
    `oldest` the oldest day from which such a return may start, `exponent` what expresses the
    growth since the anniversary per year.
    """

    column: Integers
    oldest: Days
    exponent: Floats

    @classmethod
    def of(cls, columns: DayColumns, years: int, basis: AnnualisationBasis) -> "Anniversary":
        """Find the anniversaries of all distinct days."""
        anniversary = years_before(columns.days, years)
        exponent = (
            DAYS_PER_YEAR / (columns.days - anniversary)
            if basis == "365"
            else np.full(len(columns.days), 1.0 / years)
        )
        return cls(columns.until(anniversary), anniversary - OLDEST_ANCHOR_DAYS, exponent)
