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
    account_and_day,
    account_codes,
    account_runs,
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
    """One batch of valuations with flows, states and history, handed out in blocks of accounts.

    Only what finds an account's rows is kept for the whole batch; rows are sorted and looked into
    block by block, so blocks can be made by several threads.

    Raises BadInputError where an account has two states; `block` does where it has two valuations
    on a day, or a state that is not older than its first valuation.
    """

    def __init__(
        self,
        valuations: pa.Table,
        flows: pa.Table,
        states: pa.Table | None,
        history: pa.Table | None,
    ) -> None:
        self._valuations = valuations.select(VALUATION_COLUMNS)
        runs, run_starts = account_runs(valuations["account_id"])
        known = [] if states is None else [states["account_id"]]
        self.account_ids = sorted_accounts(runs, *known)
        numbers = np.arange(len(self.account_ids) + 1)
        codes = account_codes(runs, self.account_ids)
        self._order: Integers | None = None
        if np.any(codes[1:] <= codes[:-1]):
            codes = np.repeat(codes, np.diff(run_starts))
            self._order = np.argsort(codes, kind="stable")
            self._valuations = self._valuations.combine_chunks()
            self.row_starts = np.searchsorted(codes[self._order], numbers)
        else:
            self.row_starts = run_starts[np.searchsorted(codes, numbers)]
        self.states = states_by_account(states, self.account_ids)
        self._flows, self._flow_starts = self._by_account(
            flows.filter(pc.not_equal(flows["amount"], pa.scalar(0, pa.int64())))
        )
        self._history, self._history_starts = self._by_account(
            None if history is None else history.filter(pc.is_valid(history["net_growth_index"]))
        )

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
        account_ids = self.account_ids[first:last]
        account_starts = self.row_starts[first : last + 1] - low
        states = self.states.at(slice(first, last))
        rows, keys = self._sorted_rows(low, high, account_starts)
        _refuse_duplicates(keys, account_ids)
        day = day_numbers(rows["as_of_date"])
        present = np.flatnonzero(np.diff(account_starts))
        starts = account_starts[present]
        _refuse_later_states(states, present, day[starts], account_ids)
        flow_starts = self._flow_starts[first : last + 1]
        flows = flows_by_row(
            self._flows.slice(flow_starts[0], flow_starts[-1] - flow_starts[0]),
            account=np.repeat(np.arange(last - first), np.diff(flow_starts)),
            keys=keys,
            days=day,
            account_starts=account_starts,
            states=states,
            currency=rows["currency"],
        )
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
        is_break[flows.foreign_rows] = True
        return AccountBlock(
            account_ids=account_ids,
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
            flows=flows.dated,
            net_flow_words=flows.net_words(len(day)),
            states=states,
            history=self._history_of(first, last, account_starts, day),
        )

    def _sorted_rows(
        self, low: int, high: int, account_starts: Integers
    ) -> tuple[pa.Table, Integers]:
        """Return rows in order of account and day with their keys: a view where they came so."""
        if self._order is None:
            rows = self._valuations.slice(low, high - low).combine_chunks()
        else:
            rows = self._valuations.take(pa.array(self._order[low:high]))
        account = np.repeat(np.arange(len(account_starts) - 1), np.diff(account_starts))
        keys = row_keys(account, day_numbers(rows["as_of_date"]))
        if np.any(keys[1:] < keys[:-1]):
            order = np.argsort(keys, kind="stable")
            rows, keys = rows.take(pa.array(order)), keys[order]
        return rows, keys

    def _by_account(self, table: pa.Table | None) -> tuple[pa.Table, Integers]:
        """Return the rows of our accounts in their order, and where those of each begin."""
        numbers = np.arange(len(self.account_ids) + 1)
        if table is None:
            return pa.table({}), np.zeros(len(numbers), np.int64)
        account = account_codes(table["account_id"], self.account_ids)
        if np.any(account[1:] < account[:-1]) or np.any(account[:1] < 0):
            order = np.argsort(account, kind="stable")
            table, account = table.take(pa.array(order)), account[order]
        return table.combine_chunks(), np.searchsorted(account, numbers)

    def _history_of(
        self, first: int, last: int, account_starts: Integers, day: Days
    ) -> GrowthHistory:
        starts = self._history_starts[first : last + 1]
        if starts[0] == starts[-1]:
            no_day = np.empty(0, np.int32)
            return GrowthHistory(starts - starts[0], no_day, no_day, np.empty((len(BASES), 0)))
        rows = self._history.slice(starts[0], starts[-1] - starts[0])
        account = np.repeat(np.arange(last - first), np.diff(starts))
        history_day = day_numbers(rows["as_of_date"])
        # What is computed now replaces what was computed before.
        first_row = account_starts[account]
        has_rows = np.flatnonzero(first_row < account_starts[account + 1])
        kept = has_rows[history_day[has_rows] < day[first_row[has_rows]]]
        kept = kept[np.argsort(row_keys(account[kept], history_day[kept]), kind="stable")]
        return GrowthHistory(
            np.searchsorted(account[kept], np.arange(last - first + 1)),
            history_day[kept],
            day_numbers(rows["record_start_date"])[kept],
            np.stack([_nullable_floats(rows[f"{basis}_growth_index"])[kept] for basis in BASES]),
        )


def _refuse_duplicates(keys: Integers, account_ids: pa.Array) -> None:
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if len(same):
        account, day = account_and_day(keys[same[0]])
        raise BadInputError(
            f"Account {account_ids[account].as_py()} has two valuations on {day} ({len(same)} such "
            "rows); pass one version of each account-day, e.g. only rows with is_current."
        )


def _refuse_later_states(
    states: AccountStates, present: Integers, first_day: Days, account_ids: pa.Array
) -> None:
    late = present[states.is_known[present] & (states.as_of_day[present] >= first_day)]
    if len(late):
        raise BadInputError(
            f"The state of account {account_ids[int(late[0])].as_py()} is not older than "
            f"its first valuation ({len(late)} such accounts); pass the states of the month "
            "before the first month of the valuations."
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
