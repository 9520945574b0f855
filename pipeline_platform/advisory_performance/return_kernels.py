"""Loops over account-days, compiled: one pass gives every figure of a day from the day before.

Import this module only where returns are computed: numba takes half a second to import. The
machine code of a loop is compiled once (seconds) and kept in `__pycache__` beside this file, or
in the user's cache where that can't be written.

A performance record is an unbroken run of valuations whose returns can be linked. It starts at
inception, ends with a full withdrawal, a total loss, or a base from which nothing can be measured,
and a later positive valuation starts a new one. docs/returns.md gives the definitions.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from pipeline_platform.advisory_performance.account_states import GROWTH_ANCHORS
from pipeline_platform.advisory_performance.tables import RETURN_PERIODS

MEASURED, INCEPTION, NO_ASSETS, NON_POSITIVE_BASE = range(4)
RETURN_STATUSES = ("measured", "inception", "no_assets", "non_positive_base")

RETURN_LIMIT = 1e6
"""A daily return of this size can't be held (RETURN has six digits before the point); such a
growth comes from a base that is nothing but a remainder, so it counts as no base at all."""
OLDEST_ANCHOR_DAYS = 31
"""How much older than the anniversary the index may be from which a return starts."""
DAYS_PER_YEAR = 365.0
YEARS = (1, 3, 5)
MONTHS_PER_PERIOD = (1, 3, 12)
"""Months, quarters, years."""

Integers = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]
Months = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ANCHORS = len(GROWTH_ANCHORS)
RETURNS = len(RETURN_PERIODS)
SINCE_INCEPTION = RETURN_PERIODS.index("since_inception")
PER_YEAR = RETURN_PERIODS.index("since_inception_annualised")
"""From here on the returns of a basis are per year: since inception, 1, 3 and 5 years."""


def _read(kind: types.Type, dimensions: int = 1) -> types.Array:
    return types.Array(kind, dimensions, "C", readonly=True)


def _written(kind: types.Type, dimensions: int = 1) -> types.Array:
    return types.Array(kind, dimensions, "C")


def compiled(*parameters: types.Type, returns: types.Type = types.void) -> Callable[..., Any]:
    """Compile a function for exactly these parameters; other threads run while it does."""
    decorate: Callable[..., Any] = numba.njit(
        returns(*parameters), nogil=True, cache=True, error_model="numpy"
    )
    return decorate


@numba.njit
def _years_before(
    day: int,
    month: int,
    years: int,
    month_starts: Days,
) -> int:
    first = month_starts[month - 12 * years]
    following = month_starts[month - 12 * years + 1]
    return min(first + day - month_starts[month], following - 1)


@compiled(*[types.int64] * 4, _read(types.int32), returns=types.float64)
def years_between(
    start: int,
    start_month: int,
    end: int,
    end_month: int,
    month_starts: Days,
) -> float:
    """Return the time from start to end in years: whole years, and days of the year begun.

    Counted backwards from the end: the largest n for which the start is not after the day n
    years before the end, plus the days that remain divided by the length of the year in which
    they lie (365 or 366). Days count from 1970, months are positions in `month_starts`, the first
    days of consecutive months; 29 February becomes 28 February where it must.
    """
    whole = (end_month - start_month) // 12
    anniversary = _years_before(end, end_month, whole, month_starts)
    if anniversary < start:
        whole -= 1
        anniversary = _years_before(end, end_month, whole, month_starts)
    length = anniversary - _years_before(end, end_month, whole + 1, month_starts)
    return whole + (anniversary - start) / length


@numba.njit
def _month_of(
    day: int,
    month_starts: Days,
) -> int:
    month = (day - month_starts[0]) // 31
    while month_starts[month + 1] <= day:
        month += 1
    return month


@compiled(
    *(_read(types.int64), _read(types.int32), _read(types.int32)),
    *(_read(types.float64), _read(types.float64), _read(types.float64, 2)),
    *(_read(types.bool_), _read(types.bool_), _read(types.bool_)),
    *(_read(types.bool_), _read(types.bool_), _read(types.int32)),
    *(_written(types.int8), _written(types.bool_), _written(types.bool_)),
    *(_written(types.int32), _written(types.int32)),
)
def decide_records(
    account_starts: Integers,
    day: Days,
    month_starts: Days,
    opening: Floats,
    closing: Floats,
    growth: Floats,
    is_measurable: Mask,
    is_empty: Mask,
    is_break: Mask,
    state_is_known: Mask,
    state_is_open: Mask,
    state_record_start: Days,
    status: Codes,
    is_measured: Mask,
    is_open: Mask,
    month: Months,
    record_start: Days,
) -> None:
    """Decide how every row stands in its account's record.

    In, per row: its day, the value before and after, growth (net and gross), whether that can be
    measured, whether no money was at work at all, and whether the value can't be compared with
    the one before (another currency). Per account: what was known before its first row.

    Out, per row: `status` (a position in RETURN_STATUSES), whether the day has a return of its
    own, whether the record goes on after it, its month (a position in `month_starts`) and the
    first day of its record (outside a record, of the last one).
    """
    for account in range(len(account_starts) - 1):
        low, high = account_starts[account], account_starts[account + 1]
        if low == high:
            continue
        was_open = state_is_open[account]
        start = state_record_start[account] if state_is_known[account] else day[low]
        at = _month_of(day[low], month_starts)
        for row in range(low, high):
            while month_starts[at + 1] <= day[row]:
                at += 1
            month[row] = at
            measured = (
                is_measurable[row]
                and abs(growth[0, row] - 1.0) < RETURN_LIMIT
                and not is_break[row]
            )
            has_no_opening = opening[row] == 0 or is_break[row]
            is_first_value = not measured and closing[row] > 0 and has_no_opening
            if is_first_value or (measured and not was_open):
                status[row] = INCEPTION
                start = day[row]
            elif measured:
                status[row] = MEASURED
            elif closing[row] == 0 and (is_empty[row] or has_no_opening):
                status[row] = NO_ASSETS
            else:
                status[row] = NON_POSITIVE_BASE
            was_open = is_first_value or (measured and growth[0, row] > 0 and closing[row] > 0)
            is_measured[row] = measured
            is_open[row] = was_open
            record_start[row] = start


@compiled(
    *(_read(types.int64), _read(types.int8), _read(types.bool_), _read(types.int32)),
    *(_read(types.float64, 2), _read(types.int64), _read(types.float64, 2)),
    *(_written(types.float64, 2), _written(types.float64, 2)),
)
def link(
    account_starts: Integers,
    status: Codes,
    is_measured: Mask,
    month: Months,
    growth: Floats,
    state_month: Integers,
    state_growth: Floats,
    anchors: Floats,
    returns: Floats,
) -> None:
    """Link the days of every record; fill in `anchors` and `returns` but for those per year.

    `state_growth` has a column for each of INDEX_COLUMNS, as `anchors` has a row; `returns` has a
    row for each of RETURN_COLUMNS. NaN = none: outside a record, and for gross after fees that are
    not known, until the record ends. Multiplies strictly from left to right, so a record that is
    cut and continued from its last index gives the same bits as the whole record.
    """
    for account in range(len(account_starts) - 1):
        for basis in range(2):
            first_anchor, first_return = basis * ANCHORS, basis * RETURNS
            index = state_growth[account, first_anchor]
            starts = state_growth[account, first_anchor + 1 : first_anchor + 4].copy()
            last_month = state_month[account]
            for row in range(account_starts[account], account_starts[account + 1]):
                before = index
                begins = status[row] == INCEPTION
                is_linked = begins or status[row] == MEASURED
                if is_measured[row]:
                    index = growth[basis, row] if begins else index * growth[basis, row]
                else:
                    index = 1.0 if begins else np.nan
                anchors[first_anchor, row] = index
                current = index if is_measured[row] else np.nan
                returns[first_return, row] = (
                    growth[basis, row] - 1.0 if is_measured[row] else np.nan
                )
                returns[first_return + SINCE_INCEPTION, row] = current - 1.0
                for period in range(3):
                    months = MONTHS_PER_PERIOD[period]
                    if not is_linked:
                        starts[period] = np.nan
                    elif begins:
                        starts[period] = 1.0
                    elif month[row] // months != last_month // months:
                        starts[period] = before
                    anchors[first_anchor + 1 + period, row] = starts[period]
                    returns[first_return + 1 + period, row] = current / starts[period] - 1.0
                last_month = month[row]


@compiled(
    *(_read(types.int64), _read(types.int32), _read(types.int32), _read(types.int32)),
    *(_read(types.int32), _read(types.bool_), _read(types.float64, 2)),
    *(types.bool_, _written(types.float64, 2), _written(types.float64, 2)),
)
def grow_since_inception(
    account_starts: Integers,
    day: Days,
    month: Months,
    month_starts: Days,
    record_start: Days,
    is_measured: Mask,
    anchors: Floats,
    is_365: bool,
    returns: Floats,
    exponents: Floats,
) -> None:
    """Fill in growth since inception, and the exponent (1 / years) that makes it per year.

    NaN where less than a year lies between (GIPS: periods of less than a year are not
    annualised) and below zero, which has no real root. Years are those of the
    calendar, or days / 365.
    """
    for account in range(len(account_starts) - 1):
        start, start_month = 0, -1
        for row in range(account_starts[account], account_starts[account + 1]):
            if start_month < 0 or record_start[row] != start:
                start = record_start[row]
                start_month = _month_of(start, month_starts)
            years = years_between(start, start_month, day[row], month[row], month_starts)
            exponents[0, row] = 1.0 / years
            if is_365:
                exponents[0, row] = DAYS_PER_YEAR / (day[row] - start)
            for basis in range(2):
                index = anchors[basis * ANCHORS, row]
                is_held = is_measured[row] and years >= 1 and index >= 0
                returns[basis * RETURNS + PER_YEAR, row] = index if is_held else np.nan


@compiled(
    *(_read(types.int64), _read(types.int32), _read(types.int32), _read(types.int32)),
    *(_read(types.int32), _read(types.bool_), _read(types.float64, 2)),
    *(_read(types.int64), _read(types.int32), _read(types.int32), _read(types.float64, 2)),
    *(types.bool_, _written(types.float64, 2), _written(types.float64, 2)),
)
def reach_back(
    account_starts: Integers,
    day: Days,
    month: Months,
    month_starts: Days,
    record_start: Days,
    is_measured: Mask,
    anchors: Floats,
    history_starts: Integers,
    history_day: Days,
    history_record_start: Days,
    history_index: Floats,
    is_365: bool,
    returns: Floats,
    exponents: Floats,
) -> None:
    """Fill in growth since 1, 3 and 5 years ago, with the exponents that make it per year.

    It starts from the growth index as of the same day so many years earlier: the last one of the
    same record on or before that day, at most 31 days older. NaN where there is none, and below
    zero. An account's history is older than its rows, and both are in order of days.
    """
    for account in range(len(account_starts) - 1):
        low, high = account_starts[account], account_starts[account + 1]
        for position in range(3):
            older, newer = history_starts[account], low
            for row in range(low, high):
                anniversary = _years_before(day[row], month[row], YEARS[position], month_starts)
                exponents[1 + position, row] = 1.0 / YEARS[position]
                if is_365:
                    exponents[1 + position, row] = DAYS_PER_YEAR / (day[row] - anniversary)
                # Anniversaries rise with the days, so the last day until one only moves on.
                while older < history_starts[account + 1] and history_day[older] <= anniversary:
                    older += 1
                while newer < row and day[newer] <= anniversary:
                    newer += 1
                oldest = anniversary - OLDEST_ANCHOR_DAYS
                for basis in range(2):
                    from_day, from_start, from_index = oldest - 1, record_start[row], np.nan
                    if newer > low:
                        from_day, from_start = day[newer - 1], record_start[newer - 1]
                        from_index = anchors[basis * ANCHORS, newer - 1]
                    elif older > history_starts[account]:
                        from_day = history_day[older - 1]
                        from_start = history_record_start[older - 1]
                        from_index = history_index[basis, older - 1]
                    is_held = from_day >= oldest and from_start == record_start[row]
                    growth = anchors[basis * ANCHORS, row] / from_index
                    returns[basis * RETURNS + PER_YEAR + 1 + position, row] = (
                        growth if is_held and is_measured[row] and growth >= 0 else np.nan
                    )


@compiled(
    *(_read(types.float64, 2), types.float64, types.float64),
    *(_written(types.int64, 3), _written(types.bool_, 2)),
)
def round_to_words(
    values: Floats,
    scale: float,
    limit: float,
    words: Integers,
    valid: Mask,
) -> None:
    """Write values times scale, rounded half to even, as the two words of 128-bit integers.

    NaN, infinity and whatever is at `limit` or beyond after scaling is not valid, and zero.
    """
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            scaled = np.rint(values[row, column] * scale)
            is_valid = abs(scaled) < limit
            word = np.int64(scaled) if is_valid else np.int64(0)
            words[row, column, 0] = word
            words[row, column, 1] = word >> 63
            valid[row, column] = is_valid
