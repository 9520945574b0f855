"""Time-weighted rate of return per account and day, net and gross, for every period (SA-8).

Daily growth comes from `growth_factors`, records from `performance_records`, returns over whole
years from `anniversaries`; this module puts them together, block by block. docs/returns.md gives
all definitions, their sources and the result of every edge case.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import AccountBlock, AccountDays
from pipeline_platform.advisory_performance.anniversaries import (
    OLDEST_ANCHOR_DAYS,
    AnnualisationBasis,
    IndexedDays,
    anniversary_exponents,
    annualised,
    inception_exponents,
)
from pipeline_platform.advisory_performance.calendar_days import (
    Days,
    day_number,
    month_index,
    years_before,
)
from pipeline_platform.advisory_performance.growth_factors import growth_of
from pipeline_platform.advisory_performance.performance_records import (
    Records,
    linked,
    period_starts,
    records_of,
    spread,
)
from pipeline_platform.advisory_performance.return_tables import (
    RETURNS_SCHEMA,
    Measured,
    returns_table,
    states_of,
)
from pipeline_platform.advisory_performance.tables import ACCOUNT_STATES, BASES

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

YEARS = {"one_year": 1, "three_years": 3, "five_years": 5}
MONTHS_PER_PERIOD = {"month": 1, "quarter": 3, "year": 12}
TO_DATE = {"month": "mtd", "quarter": "qtd", "year": "ytd"}
ROWS_PER_BLOCK = 1 << 15
"""Account-days worked on at once: the arrays of a block stay in the processor's cache."""


@dataclass(frozen=True)
class ReturnSettings:
    """Rulings on returns: `calendar` years or days / `365` for annualising (runbook.yaml)."""

    annualisation_basis: AnnualisationBasis = "calendar"


@dataclass(frozen=True)
class Returns:
    """`table`: TIME_WEIGHTED_RETURNS without version columns; `states`: ACCOUNT_STATES.

    The table is sorted by account and day, the states by account and month.
    """

    table: pa.Table
    states: pa.Table


def compute_returns(
    valuations: pa.Table,
    flows: pa.Table,
    *,
    states: pa.Table | None,
    history: pa.Table | None,
    settings: ReturnSettings,
    months: tuple[date, date] | None = None,
    threads: int = 2,
) -> Returns:
    """Compute the returns of one month or of many; both ways give the same rows, bit for bit.

    `valuations` and `flows` are silver rows, one version of each account-day, in any order.
    `flows` must reach back to the day after the oldest state, because a flow on a day without a
    valuation counts with the next valuation, which may lie in the next month; flows that were
    counted before are recognised and left out. `states` are the ACCOUNT_STATES of the month
    before, `history` growth indices of earlier months (account_id, as_of_date, net_growth_index,
    gross_growth_index, record_start_date) around the 1, 3 and 5 year anniversaries. `months`
    (first and last) is needed only where the batch has a month without any valuation at its
    start or end: states are written for each of these months.

    Raises BadInputError where an account has two valuations on a day, two states, or a state
    not older than its first valuation.
    """
    parts = list(
        iterate_returns(
            valuations,
            flows,
            states=states,
            history=history,
            settings=settings,
            months=months,
            threads=threads,
        )
    )
    return Returns(
        pa.concat_tables([RETURNS_SCHEMA.empty_table(), *(part.table for part in parts)]),
        pa.concat_tables([ACCOUNT_STATES.schema.empty_table(), *(part.states for part in parts)]),
    )


def iterate_returns(
    valuations: pa.Table,
    flows: pa.Table,
    *,
    states: pa.Table | None,
    history: pa.Table | None,
    settings: ReturnSettings,
    months: tuple[date, date] | None = None,
    threads: int = 2,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> Iterator[Returns]:
    """Do what compute_returns does, but hand out block after block of whole accounts.

    Besides the input, its sort keys and what the caller keeps, memory holds `threads` + 1 blocks.
    """
    batch = AccountDays(valuations, flows, states, history)
    covered = _months_covered(batch, months)

    def work(span: tuple[int, int]) -> Returns:
        return _returns_of_block(batch.block(*span), covered, settings)

    with ThreadPoolExecutor(threads, thread_name_prefix="returns") as pool:
        waiting: deque[Future[Returns]] = deque()
        for span in batch.blocks(rows_per_block):
            waiting.append(pool.submit(work, span))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _months_covered(batch: AccountDays, months: tuple[date, date] | None) -> Integers:
    if months is not None:
        first, last = month_index(np.array([day_number(day) for day in months], np.int32))
    elif batch.row_count:
        first, last = month_index(np.array([batch.day.min(), batch.day.max()], np.int32))
    else:
        return np.empty(0, np.int64)
    return np.arange(first, last + 1)


def _returns_of_block(block: AccountBlock, months: Integers, settings: ReturnSettings) -> Returns:
    if not len(block.day):
        return Returns(RETURNS_SCHEMA.empty_table(), states_of(block, None, months))
    elapsed = (block.day - block.previous_day).astype(np.float64)
    growth = growth_of(block.opening, block.closing, block.fees, elapsed, block.flows)
    records = records_of(
        growth,
        opening=block.opening,
        closing=block.closing,
        is_break=block.is_break,
        account_starts=block.account_starts,
        was_open=block.states.is_open[block.present],
    )
    returns: dict[str, Floats] = {}
    anchors: dict[str, Floats] = {}
    starts = _record_starts(block, records)
    measured = Measured(
        records, starts, growth.is_estimated & records.is_measured, returns, anchors
    )
    for basis in BASES:
        _link(block, records, basis, getattr(growth, basis), measured)
    _annualise(block, records, settings, measured)
    return Returns(returns_table(block, measured), states_of(block, measured, months))


def _record_starts(block: AccountBlock, records: Records) -> Days:
    """Return the first day of the record of every row; outside a record, that of the last one."""
    chains = records.chain_starts
    start = block.day[chains].copy()
    is_first = np.zeros(len(block.day), np.bool_)
    is_first[block.account_starts] = True
    begins, is_first = records.begins[chains], is_first[chains]
    account = block.account[chains]
    continues = is_first & ~begins & block.states.is_known[account]
    start[continues] = block.states.record_start[account[continues]]
    known_at = np.where(begins | is_first, np.arange(len(chains)), 0)
    result: Days = spread(start[np.maximum.accumulate(known_at)], chains, len(block.day))
    return result


def _link(
    block: AccountBlock, records: Records, basis: str, growth: Floats, measured: Measured
) -> None:
    """Fill in growth index, period anchors and the returns that follow from them."""
    states, present, first = block.states, block.present, block.account_starts
    is_continued = records.is_linked[first] & ~records.begins[first]
    rows, accounts = first[is_continued], present[is_continued]

    factor = np.where(records.is_measured, growth, np.nan)
    factor[records.begins & ~records.is_measured] = 1.0
    factor[rows] *= states.index(f"{basis}_growth_index")[accounts]
    index = linked(factor, records.chain_starts)
    has_return = records.is_measured
    measured.anchors[f"{basis}_growth_index"] = index
    measured.returns[f"{basis}_return_daily"] = np.where(has_return, growth - 1.0, np.nan)
    since = np.where(has_return, index, np.nan)
    measured.returns[f"{basis}_return_since_inception"] = since - 1.0

    month = block.month
    state_month = month_index(states.as_of_day[accounts])
    for name, length in MONTHS_PER_PERIOD.items():
        period = month // length
        anchor_rows = period_starts(period, records.chain_starts)
        anchor = np.where(records.begins[anchor_rows], 1.0, index[anchor_rows - 1])
        at_start = np.searchsorted(anchor_rows, rows)
        same_period = state_month // length == period[rows]
        state_anchor = states.index(f"{basis}_growth_{name}_start")[accounts]
        state_index = states.index(f"{basis}_growth_index")[accounts]
        anchor[at_start] = np.where(same_period, state_anchor, state_index)
        anchor[~records.is_linked[anchor_rows]] = np.nan
        anchors = spread(anchor, anchor_rows, len(index))
        measured.anchors[f"{basis}_growth_{name}_start"] = anchors
        with np.errstate(invalid="ignore", divide="ignore"):
            measured.returns[f"{basis}_return_{TO_DATE[name]}"] = since / anchors - 1.0


def _annualise(
    block: AccountBlock, records: Records, settings: ReturnSettings, measured: Measured
) -> None:
    """Fill in the returns of 1, 3 and 5 years and since inception per year."""
    history, basis = block.history, settings.annualisation_basis
    columns, column = block.day_columns, block.day_column
    account_count = len(block.account_ids)

    starts, start_code = np.unique(measured.record_start[records.chain_starts], return_inverse=True)
    exponents = inception_exponents(
        np.repeat(starts, len(columns.days)), np.tile(columns.days, len(starts)), basis
    )
    start_column = spread(start_code * len(columns.days), records.chain_starts, len(column))
    exponent = exponents[start_column + column]
    exponent[~records.is_measured] = np.nan
    for name in BASES:
        index = measured.anchors[f"{name}_growth_index"]
        measured.returns[f"{name}_return_since_inception_annualised"] = annualised(index, exponent)

    account, day, record_start = block.account, block.day, measured.record_start
    order = _merged(history.account, account)
    all_accounts = np.concatenate([history.account, account])[order]
    all_days = np.concatenate([history.day, day])[order]
    all_starts = np.concatenate([history.record_start, record_start])[order]
    positions = IndexedDays.of(
        all_accounts, columns.until(all_days), account_count, len(columns.days)
    )
    indices = {
        name: np.concatenate(
            [getattr(history, f"{name}_index"), measured.anchors[f"{name}_growth_index"]]
        )[order]
        for name in BASES
    }
    for period, years in YEARS.items():
        anniversary = years_before(columns.days, years)
        anchor_column = columns.until(anniversary)
        oldest = anniversary - OLDEST_ANCHOR_DAYS
        latest = positions.latest(account, anchor_column[column])
        anchor = np.maximum(latest, 0)
        is_held = (
            (latest >= 0)
            & (all_days[anchor] >= oldest[column])
            & (all_starts[anchor] == record_start)
            & records.is_measured
        )
        per_year = anniversary_exponents(columns.days, years, basis)[column]
        for name in BASES:
            index = measured.anchors[f"{name}_growth_index"]
            with np.errstate(invalid="ignore", divide="ignore"):
                growth = np.where(is_held, index / indices[name][anchor], np.nan)
            measured.returns[f"{name}_return_{period}"] = annualised(growth, per_year)


def _merged(first: Integers, second: Integers) -> Any:
    """Return the order of two sorted columns, one after the other, with the first's ties first."""
    if not len(first):
        return slice(None)
    return np.argsort(np.concatenate([first, second]), kind="stable")
