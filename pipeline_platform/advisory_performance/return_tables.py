"""From arrays over account-days back to tables: returns, and states at the ends of months."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import AccountBlock
from pipeline_platform.advisory_performance.account_states import (
    INDEX_COLUMNS,
    AccountStates,
    joined,
    month_ends,
    states_table,
)
from pipeline_platform.advisory_performance.calendar_days import Days, first_of_month
from pipeline_platform.advisory_performance.decimals import (
    decimals_from_words,
    floats_to_arrow,
    words_of,
)
from pipeline_platform.advisory_performance.return_kernels import (
    RETURN_STATUSES,
    round_to_words,
)
from pipeline_platform.advisory_performance.tables import (
    BASES,
    COMPUTED_RETURNS,
    MONEY,
    RETURN,
    RETURN_COLUMNS,
)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """What was computed for the rows of a block.

    `status` is a position in RETURN_STATUSES, `month` counts from January 1970. `returns` has one
    row per RETURN_COLUMNS, `anchors` one per INDEX_COLUMNS (growth indices and their values at the
    starts of periods), both with one column per row of the block. NaN = no such return.
    """

    status: npt.NDArray[np.int8]
    is_open: Mask
    month: Integers
    record_start: Days
    is_estimated: Mask
    returns: Floats
    anchors: Floats


def returns_table(block: AccountBlock, measured: Measured) -> pa.Table:
    """Return the rows of a block with the columns of COMPUTED_RETURNS."""
    rows = block.valuations
    columns = {
        "account_id": rows["account_id"],
        "as_of_date": rows["as_of_date"],
        "as_of_month": _dates(_first_days(measured.month)),
        "vendor": rows["vendor"],
        "currency": rows["currency"],
        "account_class": rows["account_class"],
        "opening_value": decimals_from_words(block.opening_words, MONEY, block.has_opening),
        "market_value": rows["market_value"],
        "net_external_flow": decimals_from_words(block.net_flow_words, MONEY, None),
        "fees": rows["fees"],
        **dict(zip(RETURN_COLUMNS, fractions_to_decimals(measured.returns), strict=True)),
        **{
            f"{basis}_growth_index": floats_to_arrow(
                measured.anchors[INDEX_COLUMNS.index(f"{basis}_growth_index")]
            )
            for basis in BASES
        },
        "record_start_date": _dates(measured.record_start),
        "is_estimated": pa.array(measured.is_estimated),
        "return_status": _texts(measured.status),
    }
    arrays = [
        columns[column.name]
        if columns[column.name].type == column.type
        else columns[column.name].cast(column.type)
        for column in COMPUTED_RETURNS
    ]
    return pa.Table.from_arrays(arrays, schema=COMPUTED_RETURNS)


def states_of(block: AccountBlock, measured: Measured | None, months: Integers) -> pa.Table:
    """Return one state per account and month: its last row's, or that of the month before."""
    if not len(months):
        return states_table(block.account_ids[:0], months, block.states.at(slice(0, 0)))
    row_month = np.empty(0, np.int64) if measured is None else measured.month
    account, month, row = month_ends(block.account_starts, row_month, months)
    # Row r of the block is position r of the joined states, account a's old state follows them.
    has_state = (row >= 0) | block.states.is_known[account]
    account, month, row = account[has_state], month[has_state], row[has_state]
    is_row = row >= 0
    last_rows, position = np.unique(row[is_row], return_inverse=True)
    at_rows = _states_at(block, measured, last_rows)
    source = account + len(last_rows)
    source[is_row] = position
    states = joined(at_rows, block.states).at(source)
    return states_table(block.account_ids.take(pa.array(account)), month, states)


def _states_at(block: AccountBlock, measured: Measured | None, rows: Integers) -> AccountStates:
    if measured is None:
        return block.states.at(slice(0, 0))
    valuations = block.valuations.take(pa.array(rows))
    return AccountStates(
        is_known=np.ones(len(rows), np.bool_),
        as_of_day=block.day[rows],
        vendor=valuations["vendor"].to_numpy(),
        currency=valuations["currency"].to_numpy(),
        account_class=valuations["account_class"].to_numpy(),
        market_value_words=words_of(valuations["market_value"].cast(MONEY)),
        record_start=measured.record_start[rows],
        is_open=measured.is_open[rows],
        growth=measured.anchors[:, rows].T,
    )


def fractions_to_decimals(fractions: Floats) -> list[pa.Array]:
    """Return each row of a matrix as RETURN decimals, rounded half to even at the 12th decimal.

    NaN, infinity and whatever is a million or more (which RETURN can't hold) become null.
    """
    # NumPy's memory, not Arrow's pool: a large kept result costs a quarter of the system time.
    words = np.empty((*fractions.shape, 2), np.int64)
    valid = np.empty(fractions.shape, np.bool_)
    round_to_words(fractions, 10.0**RETURN.scale, 10.0**RETURN.precision, words, valid)
    return [
        decimals_from_words(row, RETURN, None if row_valid.all() else row_valid)
        for row, row_valid in zip(words, valid, strict=True)
    ]


def _first_days(months: Integers) -> Days:
    """Return the first day of each month (months since January 1970)."""
    first = int(months.min(initial=0))
    days = first_of_month(np.arange(first, int(months.max(initial=0)) + 1))
    result: Days = days[months - first]
    return result


def _dates(days: Days) -> pa.Array:
    return pa.array(days, pa.int32()).cast(pa.date32())


def _texts(status: npt.NDArray[np.int8]) -> pa.Array:
    codes = pa.array(status)
    return pa.DictionaryArray.from_arrays(codes, pa.array(RETURN_STATUSES)).dictionary_decode()
