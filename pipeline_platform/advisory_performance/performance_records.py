"""Performance records: where an account's record starts, ends, and how its days are linked.

A record is an unbroken run of valuations whose returns can be linked. It starts at inception,
ends with a full withdrawal, a total loss, or a base from which nothing can be measured, and a
later positive valuation starts a new one. All functions work on the rows of many accounts at
once, in order of account and day.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_platform.advisory_performance.growth_factors import Growth

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

RETURN_STATUSES = ("measured", "inception", "no_assets", "non_positive_base")
MEASURED, INCEPTION, NO_ASSETS, NON_POSITIVE_BASE = range(4)

RETURN_LIMIT = 1e6
"""A daily return of this size can't be held (RETURN has six digits before the point); such a
growth comes from a base that is nothing but a remainder, so it counts as no base at all."""


@dataclass(frozen=True)
class Records:
    """How each account-day stands in its account's record.

    `status` indexes RETURN_STATUSES; `is_measured` says that the day has a return of its own;
    `is_linked` that the day belongs to a record; `begins` that it is a record's first day;
    `is_open` that the record goes on after it; `chain_starts` are the rows where a run of linked
    rows begins (a row outside any record is a run of its own).
    """

    status: npt.NDArray[np.int8]
    is_measured: Mask
    is_linked: Mask
    begins: Mask
    is_open: Mask
    chain_starts: Integers


def records_of(
    growth: Growth,
    *,
    opening: Floats,
    closing: Floats,
    is_break: Mask,
    account_starts: Integers,
    was_open: Mask,
) -> Records:
    """Decide the status of every row from the row itself and from whether a record was open.

    `is_break` marks rows whose value can't be compared with the one before (another currency);
    `account_starts` are the first rows of the accounts and `was_open` says, per account, whether
    a record was open before that row.
    """
    with np.errstate(invalid="ignore"):
        is_measured = growth.is_measurable & (np.abs(growth.net - 1.0) < RETURN_LIMIT) & ~is_break
    is_first_value = ~is_measured & (closing > 0) & ((opening == 0) | is_break)
    is_without_assets = (
        ~is_measured & (closing == 0) & (growth.is_empty | (opening == 0) | is_break)
    )
    is_open = (is_measured & (growth.net > 0) & (closing > 0)) | is_first_value
    was_open_before = np.empty(len(opening), np.bool_)
    was_open_before[1:] = is_open[:-1]
    was_open_before[account_starts] = was_open

    is_linked = is_measured | is_first_value
    begins = is_first_value | (is_measured & ~was_open_before)
    status = np.full(len(opening), NON_POSITIVE_BASE, np.int8)
    status[is_without_assets] = NO_ASSETS
    status[is_linked] = MEASURED
    status[begins] = INCEPTION
    starts_chain = begins | ~is_linked
    starts_chain[account_starts] = True
    return Records(status, is_measured, is_linked, begins, is_open, np.flatnonzero(starts_chain))


def linked(growth: Floats, chain_starts: Integers) -> Floats:
    """Return the running product of growth within every chain (NaN spreads to its end).

    Multiplies strictly from left to right, so a chain that is cut and continued from its last
    product gives the same bits as the whole chain.
    """
    result = np.empty_like(growth)
    lengths = np.diff(np.append(chain_starts, len(growth)))
    for length in np.unique(lengths):
        starts = chain_starts[lengths == length]
        if len(starts) * length == len(growth):
            block = growth.reshape(-1, length)
            np.multiply.accumulate(block, axis=1, out=result.reshape(-1, length))
            continue
        rows = starts[:, None] + np.arange(length)
        result[rows] = np.multiply.accumulate(growth[rows], axis=1)
    return result


def period_starts(period: Integers, chain_starts: Integers) -> Integers:
    """Return the rows that are the first of their period (month, ...) within their chain."""
    is_start = np.empty(len(period), np.bool_)
    is_start[1:] = period[1:] != period[:-1]
    is_start[chain_starts] = True
    return np.flatnonzero(is_start)


def spread(values: npt.NDArray[np.generic], starts: Integers, row_count: int) -> np.ndarray:
    """Repeat one value per run of rows (along the last axis) over all rows of that run."""
    return np.repeat(values, np.diff(np.append(starts, row_count)), axis=-1)
