"""Calendar arithmetic on whole columns of days: periods, anniversaries, lengths in years.

A day is the number of days since 1970-01-01, as Arrow's date32 holds it.
"""

from datetime import date

import numpy as np
import numpy.typing as npt

Days = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_EPOCH = date(1970, 1, 1).toordinal()


def day_number(day: date) -> int:
    """Return a date as days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def month_index(days: Days) -> Integers:
    """Return the number of months since January 1970."""
    result: Integers = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return result


def first_of_month(months: Integers) -> Days:
    """Return the first day of each month (months since January 1970)."""
    result: Days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int32)
    return result


def years_before(days: Days, years: Integers | int) -> Days:
    """Return the same day of an earlier year; 29 February becomes 28 February where it must."""
    months = month_index(days)
    day_of_month = days - first_of_month(months)
    target = months - 12 * np.asarray(years, np.int64)
    first, following = first_of_month(target), first_of_month(target + 1)
    result: Days = np.minimum(first + day_of_month, following - 1)
    return result


def calendar_years(starts: Days, ends: Days) -> Floats:
    """Return the time from start to end in years: whole years, and days of the year begun.

    Counted backwards from the end: the largest n for which the start is not after the day n
    years before the end, plus the days that remain divided by the length of the year in which
    they lie (365 or 366).
    """
    whole = (month_index(ends) - month_index(starts)) // 12
    anniversary = years_before(ends, whole)
    whole -= anniversary < starts
    anniversary = years_before(ends, whole)
    year_length = anniversary - years_before(ends, whole + 1)
    result: Floats = whole.astype(np.float64) + (anniversary - starts) / year_length
    return result
