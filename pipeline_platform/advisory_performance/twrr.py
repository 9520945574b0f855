"""Time-weighted rate of return per account and day, net and gross, for every period (SA-8).

Daily growth comes from `growth_factors`, records from `performance_records`, returns over whole
years from `anniversaries`; this module puts them together, block by block. docs/returns.md gives
all definitions, their sources and the result of every edge case.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import AccountBlock, AccountDays
from pipeline_platform.advisory_performance.account_states import INDEX_COLUMNS
from pipeline_platform.advisory_performance.anniversaries import (
    Anniversary,
    AnnualisationBasis,
    IndexedDays,
    annualised,
    inception_exponents,
)
from pipeline_platform.advisory_performance.calendar_days import (
    Days,
    day_number,
    month_index,
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
from pipeline_platform.advisory_performance.tables import ACCOUNT_STATES, RETURN_COLUMNS

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

YEARS = {"one_year": 1, "three_years": 3, "five_years": 5}
MONTHS_PER_PERIOD = {"month": 1, "quarter": 3, "year": 12}
TO_DATE = {"month": "mtd", "quarter": "qtd", "year": "ytd"}
ROWS_PER_BLOCK = 1 << 16
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
    anniversaries = {
        period: Anniversary.of(batch.day_columns, years, settings.annualisation_basis)
        for period, years in YEARS.items()
    }

    def work(span: tuple[int, int]) -> Returns:
        return _returns_of_block(batch.block(*span), covered, settings, anniversaries)

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


def _returns_of_block(
    block: AccountBlock,
    months: Integers,
    settings: ReturnSettings,
    anniversaries: Mapping[str, Anniversary],
) -> Returns:
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
    rows = len(block.day)
    measured = Measured(
        records,
        _record_starts(block, records),
        growth.is_estimated & records.is_measured,
        returns=np.empty((len(RETURN_COLUMNS), rows)),
        anchors=np.empty((len(INDEX_COLUMNS), rows)),
    )
    _link(block, np.stack([growth.net, growth.gross]), measured)
    _annualise(block, settings, anniversaries, measured)
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


def _link(block: AccountBlock, growth: Floats, measured: Measured) -> None:
    """Fill in growth indices, period anchors and the returns that follow from them.

    `growth` has a row for each of BASES; both are worked on at once.
    """
    records, states, present = measured.records, block.states, block.present
    chains, first = records.chain_starts, block.account_starts
    is_continued = records.is_linked[first] & ~records.begins[first]
    rows, accounts = first[is_continued], present[is_continued]
    state_index = states.anchor("index")[:, accounts]

    factor = np.where(records.is_measured, growth, np.nan)
    measured.returns_over("daily")[:] = factor - 1.0
    factor[:, records.begins & ~records.is_measured] = 1.0
    factor[:, rows] *= state_index
    index = measured.anchor("index")
    for one, into in zip(factor, index, strict=True):
        into[:] = linked(one, chains)
    since = np.where(records.is_measured, index, np.nan)
    np.subtract(since, 1.0, out=measured.returns_over("since_inception"))

    month = block.month
    state_month = month_index(states.as_of_day[accounts])
    for name, length in MONTHS_PER_PERIOD.items():
        period = month // length
        anchor_rows = period_starts(period, chains)
        anchor = np.where(records.begins[anchor_rows], 1.0, index[:, anchor_rows - 1])
        at_start = np.searchsorted(anchor_rows, rows)
        same_period = state_month // length == period[rows]
        state_anchor = states.anchor(f"{name}_start")[:, accounts]
        anchor[:, at_start] = np.where(same_period, state_anchor, state_index)
        anchor[:, ~records.is_linked[anchor_rows]] = np.nan
        anchors = measured.anchor(f"{name}_start")
        anchors[:] = spread(anchor, anchor_rows, anchors.shape[1])
        returns = measured.returns_over(TO_DATE[name])
        with np.errstate(invalid="ignore", divide="ignore"):
            np.divide(since, anchors, out=returns)
        returns -= 1.0


def _annualise(
    block: AccountBlock,
    settings: ReturnSettings,
    anniversaries: Mapping[str, Anniversary],
    measured: Measured,
) -> None:
    """Fill in the returns of 1, 3 and 5 years and since inception per year."""
    history, columns, column = block.history, block.day_columns, block.day_column
    records, index = measured.records, measured.anchor("index")

    starts, start_code = np.unique(measured.record_start[records.chain_starts], return_inverse=True)
    exponents = inception_exponents(
        np.repeat(starts, len(columns.days)),
        np.tile(columns.days, len(starts)),
        settings.annualisation_basis,
    )
    start_column = spread(start_code * len(columns.days), records.chain_starts, len(column))
    exponent = np.where(records.is_measured, exponents[start_column + column], np.nan)
    measured.returns_over("since_inception_annualised")[:] = annualised(index, exponent)

    with_history = _merged_by_account(history.account, block.account)
    days = with_history(history.day, block.day)
    starts = with_history(history.record_start, measured.record_start)
    indices = with_history(np.stack([history.net_index, history.gross_index]), index)
    positions = IndexedDays.of(
        with_history(history.account, block.account),
        columns.until(days),
        len(block.account_ids),
        len(columns.days),
    )
    for period, anniversary in anniversaries.items():
        latest = positions.latest(block.account, anniversary.column[column])
        anchor = np.maximum(latest, 0)
        is_held = (
            (latest >= 0)
            & (days[anchor] >= anniversary.oldest[column])
            & (starts[anchor] == measured.record_start)
            & records.is_measured
        )
        per_year = np.where(is_held, anniversary.exponent[column], np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            growth = index / indices[:, anchor]
        measured.returns_over(period)[:] = annualised(growth, per_year)


def _merged_by_account(
    history: Integers, account: Integers
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what puts a column of the history and one of the block in order of account and day.

    An account's history is older than its rows.
    """
    if not len(history):
        return lambda _, rows: rows
    order = np.argsort(np.concatenate([history, account]), kind="stable")
    return lambda older, rows: np.concatenate([older, rows], axis=-1)[..., order]
