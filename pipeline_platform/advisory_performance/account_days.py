"""From silver tables to arrays over account-days, in order of account and day.

All numbers of a batch lie in arrays with one element per valuation, sorted by account and day, so
that an account's previous day is the previous element; blocks of whole accounts are worked on one
after the other, which bounds memory. Money is held as floats in ten-thousandths of its currency:
integers, so sums and differences are exact up to 900 billion.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.account_states import AccountStates, states_by_account
from pipeline_platform.advisory_performance.calendar_days import Days
from pipeline_platform.advisory_performance.decimals import (
    Words,
    floats_of,
    words_of,
    words_to_floats,
)
from pipeline_platform.advisory_performance.growth_factors import DatedFlows
from pipeline_platform.advisory_performance.row_flows import flows_by_row
from pipeline_platform.advisory_performance.row_keys import (
    account_codes,
    day_numbers,
    row_keys,
    sorted_accounts,
)
from pipeline_platform.advisory_performance.tables import BASES, MONEY
from pipeline_platform.failures import BadInputError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

VALUATION_COLUMNS = (
    "account_id",
    "as_of_date",
    "vendor",
    "market_value",
    "currency",
    "fees",
    "account_class",
)


@dataclass(frozen=True)
class GrowthHistory:
    """Growth indices of earlier months, in order of account and day.

    Those of account a are account_starts[a] up to account_starts[a + 1]; `index` has a row for
    each of BASES.
    """

    account_starts: Integers
    day: Days
    record_start: Days
    index: Floats

    def within(self, first_account: int, last_account: int) -> "GrowthHistory":
        """Return the part of some accounts, with accounts counted from the first."""
        starts = self.account_starts[first_account : last_account + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        return GrowthHistory(
            starts - starts[0], self.day[span], self.record_start[span], self.index[:, span]
        )


@dataclass(frozen=True)
class AccountBlock:
    """Some accounts with all their rows, their flows, and how their records stood before.

    `valuations` are the rows as delivered; those of account a, counted from 0, are
    account_starts[a] up to account_starts[a + 1]. `opening` is
    the value at the previous valuation (0 = none), `previous_day` its day (the row's own day
    where there is none). `is_break` marks another currency than before, or than a flow's.
    """

    account_ids: pa.Array
    valuations: pa.Table
    account_starts: Integers
    day: Days
    previous_day: Days
    opening: Floats
    opening_words: Words
    has_opening: Mask
    closing: Floats
    fees: Floats
    is_break: Mask
    flows: DatedFlows
    net_flow_words: Words
    states: AccountStates
    history: GrowthHistory


class AccountDays:
    """One batch of valuations with flows, states and history, sorted once, handed out in blocks.

    Raises BadInputError where an account has two valuations on a day, two states, or a state
    that is not older than its first valuation.
    """

    def __init__(
        self,
        valuations: pa.Table,
        flows: pa.Table,
        states: pa.Table | None,
        history: pa.Table | None,
    ) -> None:
        known = [] if states is None else [states["account_id"]]
        self.account_ids = sorted_accounts(valuations["account_id"], *known)
        codes = account_codes(valuations["account_id"], self.account_ids)
        days = day_numbers(valuations["as_of_date"])
        keys = row_keys(codes, days)
        self._valuations = valuations.select(VALUATION_COLUMNS)
        self._order: Integers | None = None
        self.account, self.day = codes, days
        if np.any(keys[1:] <= keys[:-1]):
            self._order = np.argsort(keys, kind="stable")
            keys = keys[self._order]
            self.account, self.day = codes[self._order], days[self._order]
            self._valuations = self._valuations.combine_chunks()
            self._refuse_duplicates(keys)
        self.row_starts = np.searchsorted(self.account, np.arange(len(self.account_ids) + 1))
        self.states = states_by_account(states, self.account_ids)
        self._refuse_later_states()
        self.history = self._read_history(history)
        self.flows = flows_by_row(
            flows,
            accounts=self.account_ids,
            keys=keys,
            days=self.day,
            row_starts=self.row_starts,
            states=self.states,
            currency_of_rows=self._currency_of_rows,
        )

    @property
    def row_count(self) -> int:
        """Number of account-days in the batch."""
        return len(self.account)

    def blocks(self, max_rows: int, months: int) -> Iterator[tuple[int, int]]:
        """Cut the accounts into ranges of at most `max_rows` rows, at least one account each.

        Each account gets a state for each of so many months: these are bounded likewise.
        """
        max_accounts = max(1, max_rows // max(1, months))
        first = 0
        while first < len(self.account_ids):
            limit = self.row_starts[first] + max_rows
            last = int(np.searchsorted(self.row_starts, limit, side="right")) - 1
            last = min(max(last, first + 1), first + max_accounts, len(self.account_ids))
            yield first, last
            first = last

    def block(self, first: int, last: int) -> AccountBlock:
        """Return the accounts first..last-1 (numbers of `account_ids`) with all their rows."""
        low, high = int(self.row_starts[first]), int(self.row_starts[last])
        rows = self._rows(low, high)
        account_starts = self.row_starts[first : last + 1] - low
        present = np.flatnonzero(np.diff(account_starts))
        starts = account_starts[present]
        states = self.states.at(slice(first, last))
        history = self.history.within(first, last)
        day = self.day[low:high]
        known = states.is_known[present]

        words = words_of(rows["market_value"].cast(MONEY))
        opening_words = np.empty_like(words)
        opening_words[1:] = words[:-1]
        opening_words[starts] = np.where(known[:, None], states.market_value_words[present], 0)
        closing = words_to_floats(words)
        opening = np.empty_like(closing)
        opening[1:] = closing[:-1]
        opening[starts] = words_to_floats(opening_words[starts])
        has_opening = np.ones(len(day), np.bool_)
        has_opening[starts] = known
        previous_day = np.empty_like(day)
        previous_day[1:] = day[:-1]
        previous_day[starts] = np.where(known, states.as_of_day[present], day[starts])

        is_break = np.zeros(len(day), np.bool_)
        is_break[1:] = _differs_from_previous(rows["currency"])
        is_break[starts] = known & (
            states.currency[present] != rows["currency"].take(pa.array(starts)).to_numpy()
        )
        has_opening &= ~is_break
        foreign = self.flows.foreign_rows
        is_break[foreign[slice(*np.searchsorted(foreign, [low, high]))] - low] = True
        return AccountBlock(
            account_ids=self.account_ids[first:last],
            valuations=rows,
            account_starts=account_starts,
            day=day,
            previous_day=previous_day,
            opening=opening,
            opening_words=opening_words,
            has_opening=has_opening,
            closing=closing,
            fees=floats_of(rows["fees"].cast(MONEY)),
            is_break=is_break,
            flows=self.flows.dated.within(low, high),
            net_flow_words=self.flows.net_words(low, high),
            states=states,
            history=history,
        )

    def _rows(self, low: int, high: int) -> pa.Table:
        """Return sorted rows: a view where the batch came sorted, else a copy of this part."""
        if self._order is None:
            return self._valuations.slice(low, high - low).combine_chunks()
        return self._valuations.take(pa.array(self._order[low:high]))

    def _currency_of_rows(self, rows: Integers) -> pa.ChunkedArray:
        positions = rows if self._order is None else self._order[rows]
        return self._valuations["currency"].take(pa.array(positions))

    def _refuse_duplicates(self, keys: Integers) -> None:
        same = np.flatnonzero(keys[1:] == keys[:-1])
        if len(same):
            account = self.account_ids[int(self.account[same[0]])].as_py()
            day = pa.scalar(int(self.day[same[0]]), pa.int32()).cast(pa.date32()).as_py()
            raise BadInputError(
                f"Account {account} has two valuations on {day} ({len(same)} such rows); "
                "pass one version of each account-day, e.g. only rows with is_current."
            )

    def _refuse_later_states(self) -> None:
        present = np.flatnonzero(np.diff(self.row_starts))
        first_day = self.day[self.row_starts[present]]
        late = present[
            self.states.is_known[present] & (self.states.as_of_day[present] >= first_day)
        ]
        if len(late):
            raise BadInputError(
                f"The state of account {self.account_ids[int(late[0])].as_py()} is not older than "
                f"its first valuation ({len(late)} such accounts); pass the states of the month "
                "before the first month of the valuations."
            )

    def _read_history(self, history: pa.Table | None) -> GrowthHistory:
        if history is None or history.num_rows == 0:
            no_day = np.empty(0, np.int32)
            none = np.zeros(len(self.row_starts), np.int64)
            return GrowthHistory(none, no_day, no_day, np.empty((len(BASES), 0)))
        usable = history.filter(pc.is_valid(history["net_growth_index"]))
        account = account_codes(usable["account_id"], self.account_ids)
        day = day_numbers(usable["as_of_date"])
        # What is computed now replaces what was computed before.
        first_row = self.row_starts[account]
        has_rows = first_row < self.row_starts[account + 1]
        first_day = np.full(len(day), np.iinfo(np.int32).max, np.int32)
        first_day[has_rows] = self.day[first_row[has_rows]]
        kept = np.flatnonzero((account >= 0) & has_rows & (day < first_day))
        kept = kept[np.lexsort((day[kept], account[kept]))]
        account = account[kept]
        return GrowthHistory(
            np.searchsorted(account, np.arange(len(self.account_ids) + 1)),
            day[kept],
            day_numbers(usable["record_start_date"])[kept],
            np.stack([_nullable_floats(usable[f"{basis}_growth_index"])[kept] for basis in BASES]),
        )


def _differs_from_previous(column: pa.ChunkedArray) -> Mask:
    values = column.combine_chunks()
    count = max(0, len(values) - 1)
    differs = pc.not_equal(values.slice(1), values.slice(0, count))
    result: Mask = differs.to_numpy(zero_copy_only=False)
    return result


def _nullable_floats(column: pa.ChunkedArray) -> Floats:
    result: Floats = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return result
