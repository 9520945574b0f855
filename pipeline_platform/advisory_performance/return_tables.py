"""From arrays over account-days back to tables: returns, and states at the ends of months."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import AccountBlock
from pipeline_platform.advisory_performance.account_states import (
    GROWTH_ANCHORS,
    AccountStates,
    joined,
    month_ends,
    states_table,
)
from pipeline_platform.advisory_performance.calendar_days import Days, first_of_month
from pipeline_platform.advisory_performance.decimals import (
    decimals_from_words,
    floats_to_arrow,
    fractions_to_decimals,
    words_of,
)
from pipeline_platform.advisory_performance.performance_records import RETURN_STATUSES, Records
from pipeline_platform.advisory_performance.tables import (
    BASES,
    MONEY,
    RETURN_COLUMNS,
    RETURN_PERIODS,
    TIME_WEIGHTED_RETURNS,
)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

VERSION_COLUMNS = ("input_fingerprint", "known_from", "known_to", "is_current")
RETURNS_SCHEMA = pa.schema(
    [column for column in TIME_WEIGHTED_RETURNS.schema if column.name not in VERSION_COLUMNS]
)
"""TIME_WEIGHTED_RETURNS without what `with_versions` adds."""


@dataclass(frozen=True)
class Measured:
    """What was computed for the rows of a block.

    `returns` has one row per RETURN_COLUMNS, `anchors` one per INDEX_COLUMNS (growth indices and
    their values at the starts of periods), and both one column per row of the block. NaN = no
    such return.
    """

    records: Records
    record_start: Days
    is_estimated: Mask
    returns: Floats
    anchors: Floats

    def returns_over(self, period: str) -> Floats:
        """Return (as a view to fill in) one of RETURN_PERIODS: a row for each of BASES."""
        by_basis = self.returns.reshape(len(BASES), len(RETURN_PERIODS), -1)
        return by_basis[:, RETURN_PERIODS.index(period)]

    def anchor(self, name: str) -> Floats:
        """Return (as a view to fill in) one of GROWTH_ANCHORS: a row for each of BASES."""
        by_basis = self.anchors.reshape(len(BASES), len(GROWTH_ANCHORS), -1)
        return by_basis[:, GROWTH_ANCHORS.index(name)]


def returns_table(block: AccountBlock, measured: Measured) -> pa.Table:
    """Return the rows of a block with the columns of RETURNS_SCHEMA."""
    rows = block.valuations
    columns = {
        "account_id": rows["account_id"],
        "as_of_date": rows["as_of_date"],
        "as_of_month": _dates(first_of_month(block.day_columns.months)[block.day_column]),
        "vendor": rows["vendor"],
        "currency": rows["currency"],
        "account_class": rows["account_class"],
        "opening_value": decimals_from_words(block.opening_words, MONEY, block.has_opening),
        "market_value": rows["market_value"],
        "net_external_flow": decimals_from_words(block.net_flow_words, MONEY, None),
        "fees": rows["fees"],
        **dict(zip(RETURN_COLUMNS, fractions_to_decimals(measured.returns), strict=True)),
        **{
            f"{basis}_growth_index": floats_to_arrow(index)
            for basis, index in zip(BASES, measured.anchor("index"), strict=True)
        },
        "record_start_date": _dates(measured.record_start),
        "is_estimated": pa.array(measured.is_estimated),
        "return_status": _texts(measured.records.status),
    }
    arrays = [
        columns[column.name]
        if columns[column.name].type == column.type
        else columns[column.name].cast(column.type)
        for column in RETURNS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=RETURNS_SCHEMA)


def states_of(block: AccountBlock, measured: Measured | None, months: Integers) -> pa.Table:
    """Return one state per account and month: its last row's, or that of the month before."""
    account_count = len(block.account_ids)
    if not len(months):
        return states_table(block.account_ids[:0], months, block.states.at(slice(0, 0)))
    account, month, row = month_ends(block.account, block.month, account_count, months)
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
        is_open=measured.records.is_open[rows],
        growth=measured.anchors[:, rows].T,
    )


def _dates(days: Days) -> pa.Array:
    return pa.array(days, pa.int32()).cast(pa.date32())


def _texts(status: npt.NDArray[np.int8]) -> pa.Array:
    codes = pa.array(status)
    return pa.DictionaryArray.from_arrays(codes, pa.array(RETURN_STATUSES)).dictionary_decode()
