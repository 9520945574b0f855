"""External flows assigned to the valuation that follows them.

A flow on a valuation day belongs to that day; a flow on a day without a valuation waits for the
next one; a flow before an account's first valuation belongs to none. Flows of zero are left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.account_states import AccountStates
from pipeline_platform.advisory_performance.decimals import Words, floats_of, words_of
from pipeline_platform.advisory_performance.growth_factors import MID_DAY, DatedFlows
from pipeline_platform.advisory_performance.row_keys import day_numbers, row_keys
from pipeline_platform.advisory_performance.tables import MONEY, WEIGHT
from pipeline_platform.failures import BadInputError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int32]

FLOW_COLUMNS = (
    "account_id",
    "as_of_date",
    "amount",
    "currency",
    "timing",
    "weight",
    "flow_sequence",
    "valuation_before_flow",
)

_WEIGHT_UNITS = 10.0**WEIGHT.scale


@dataclass(frozen=True)
class RowFlows:
    """Flows of a batch by row: timed amounts, exact sums, and rows with a flow in other money."""

    dated: DatedFlows
    sum_rows: Integers
    sum_words: Words
    foreign_rows: Integers

    def net_words(self, row_count: int) -> Words:
        """Return the unscaled sum of flows (zero where there is none) of all rows."""
        words = np.zeros((row_count, 2), np.int64)
        words[self.sum_rows] = self.sum_words
        return words


def flows_by_row(
    flows: pa.Table,
    *,
    account: Integers,
    keys: Integers,
    days: Days,
    account_starts: Integers,
    states: AccountStates,
    currency: pa.ChunkedArray,
) -> RowFlows:
    """Assign every flow that counts to its row, in order of row, time and flow_sequence.

    `account` is per flow; `keys`, `days` and `currency` are those of the sorted rows, `states` per
    account. A flow on or before the day of an account's state was counted in an earlier month.
    """
    flow_day = day_numbers(flows["as_of_date"])
    row = np.searchsorted(keys, row_keys(account, flow_day))
    followed = np.flatnonzero(row < account_starts[account + 1])
    account, flow_day, row = account[followed], flow_day[followed], row[followed]

    is_first_row = row == account_starts[account]
    state_day = np.where(states.is_known[account], states.as_of_day[account], days[row] - 1)
    before = np.where(is_first_row, state_day, days[np.maximum(row - 1, 0)])
    kept = np.flatnonzero(flow_day > before)
    flows = flows.take(pa.array(followed[kept])).combine_chunks()
    flow_day, row = flow_day[kept], row[kept]

    is_own = pc.equal(flows["currency"], currency.take(pa.array(row))).to_numpy()
    foreign_rows = np.unique(row[~is_own])
    own = np.flatnonzero(is_own)
    flows, flow_day, row = flows.take(pa.array(own)), flow_day[own], row[own]
    sum_rows, sum_words = _sums(row, flows["amount"])
    return RowFlows(_dated(flows, flow_day, row, days[row]), sum_rows, sum_words, foreign_rows)


def _dated(flows: pa.Table, flow_day: Days, row: Integers, valuation_day: Days) -> DatedFlows:
    timing = flows["timing"]
    share = floats_of(flows["weight"].cast(WEIGHT)) / _WEIGHT_UNITS
    share[np.isnan(share)] = MID_DAY
    share[pc.equal(timing, "start_of_day").to_numpy()] = 1.0
    share[pc.equal(timing, "end_of_day").to_numpy()] = 0.0
    remaining = (valuation_day - flow_day) + share
    amount = floats_of(flows["amount"].cast(MONEY))
    sequence = flows["flow_sequence"].to_numpy()
    order = np.lexsort((amount, sequence, -remaining, row))
    return DatedFlows(
        row=row[order],
        remaining=remaining[order],
        share=share[order],
        amount=amount[order],
        value_before=floats_of(flows["valuation_before_flow"].cast(MONEY))[order],
        is_in_gap=(flow_day < valuation_day)[order],
    )


def _sums(row: Integers, amounts: pa.ChunkedArray) -> tuple[Integers, Words]:
    """Add the amounts of each row exactly, as decimals."""
    table = pa.table({"row": row, "amount": amounts})
    sums = table.group_by("row").aggregate([("amount", "sum")]).sort_by("row")
    try:
        exact = sums["amount_sum"].cast(MONEY)
    except pa.ArrowInvalid:
        raise BadInputError(
            f"The external flows of an account-day add up to more than {MONEY.precision} digits, "
            "which no column can hold; correct or quarantine them."
        ) from None
    return sums["row"].to_numpy().astype(np.int64), words_of(exact)
