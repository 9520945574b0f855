"""The returns of one block of accounts, from silver rows to computed ones."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import AccountBlock
from pipeline_platform.advisory_performance.account_states import INDEX_COLUMNS
from pipeline_platform.advisory_performance.calendar_days import (
    Days,
    first_of_month,
    month_index,
)
from pipeline_platform.advisory_performance.growth_factors import growth_of
from pipeline_platform.advisory_performance.return_kernels import (
    PER_YEAR,
    RETURNS,
    YEARS,
    decide_records,
    grow_since_inception,
    link,
    reach_back,
)
from pipeline_platform.advisory_performance.return_tables import (
    Measured,
    returns_table,
    states_of,
)
from pipeline_platform.advisory_performance.tables import BASES, COMPUTED_RETURNS, RETURN_COLUMNS

Integers = npt.NDArray[np.int64]

MONTHS_PER_YEAR = 12


def returns_of_block(
    block: AccountBlock, months: Integers, annualisation_basis: str
) -> tuple[pa.Table, pa.Table]:
    """Return COMPUTED_RETURNS of the block and COMPUTED_STATES at the ends of `months`."""
    if not len(block.day):
        return COMPUTED_RETURNS.empty_table(), states_of(block, None, months)
    measured = _measure(block, annualisation_basis)
    return returns_table(block, measured), states_of(block, measured, months)


def _measure(block: AccountBlock, annualisation_basis: str) -> Measured:
    states, history, rows = block.states, block.history, len(block.day)
    elapsed = (block.day - block.previous_day).astype(np.float64)
    growth = growth_of(block.opening, block.closing, block.fees, elapsed, block.flows)
    by_basis = np.stack([growth.net, growth.gross])
    first_month, month_starts = _month_starts(block)

    status = np.empty(rows, np.int8)
    month, record_start = np.empty(rows, np.int32), np.empty(rows, np.int32)
    is_measured, is_open = np.empty(rows, np.bool_), np.empty(rows, np.bool_)
    decide_records(
        block.account_starts,
        block.day,
        month_starts,
        block.opening,
        block.closing,
        by_basis,
        growth.is_measurable,
        growth.is_empty,
        block.is_break,
        states.is_known,
        states.is_open,
        states.record_start,
        status,
        is_measured,
        is_open,
        month,
        record_start,
    )
    returns = np.empty((len(RETURN_COLUMNS), rows))
    anchors = np.empty((len(INDEX_COLUMNS), rows))
    link(
        block.account_starts,
        status,
        is_measured,
        month,
        by_basis,
        month_index(states.as_of_day) - first_month,
        states.growth,
        anchors,
        returns,
    )
    exponents = np.empty((1 + len(YEARS), rows))
    is_365 = annualisation_basis == "365"
    grow_since_inception(
        block.account_starts,
        block.day,
        month,
        month_starts,
        record_start,
        is_measured,
        anchors,
        is_365,
        returns,
        exponents,
    )
    reach_back(
        block.account_starts,
        block.day,
        month,
        month_starts,
        record_start,
        is_measured,
        anchors,
        history.account_starts,
        history.day,
        history.record_start,
        np.ascontiguousarray(history.index),
        is_365,
        returns,
        exponents,
    )
    # A power of whole columns costs a third of one power after another.
    per_year = returns.reshape(len(BASES), RETURNS, rows)[:, PER_YEAR:]
    np.power(per_year, exponents, out=per_year)
    per_year -= 1.0
    return Measured(
        status=status,
        is_open=is_open,
        month=month.astype(np.int64) + first_month,
        record_start=record_start,
        is_estimated=growth.is_estimated & is_measured,
        returns=returns,
        anchors=anchors,
    )


def _month_starts(block: AccountBlock) -> tuple[int, Days]:
    """Return the first days of all months that the block's days, records and anniversaries touch.

    They begin with a January, so that months count in quarters and years from there; returned is
    its number of months since January 1970, too.
    """
    known = block.states.is_known
    days = np.concatenate([block.states.record_start[known], block.states.as_of_day[known]])
    first = min(int(block.day.min()), int(days.min(initial=block.day[0])))
    first_month, last_month = month_index(np.array([first, block.day.max()], np.int32))
    first_month = (first_month // MONTHS_PER_YEAR - max(YEARS) - 1) * MONTHS_PER_YEAR
    return int(first_month), first_of_month(np.arange(first_month, last_month + 2))
