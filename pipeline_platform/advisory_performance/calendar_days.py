"""Calendar arithmetic on whole columns of days.

A day is the number of days since 1970-01-01, as Arrow's date32 holds it.
"""

from datetime import date

import numpy as np
import numpy.typing as npt

Days = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

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
