"""Time-weighted rate of return per account and day, net and gross, for every period (SA-8).

Daily growth comes from `growth_factors`, everything that follows from it from the loops of
`return_kernels`; this module hands out block after block. docs/returns.md gives all definitions,
their sources and the result of every edge case.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.account_days import AccountDays
from pipeline_platform.advisory_performance.calendar_days import day_number, month_index
from pipeline_platform.advisory_performance.tables import COMPUTED_RETURNS, COMPUTED_STATES

Integers = npt.NDArray[np.int64]
AnnualisationBasis = Literal["calendar", "365"]

ROWS_PER_BLOCK = 1 << 16
"""Account-days worked on at once: enough that threads seldom wait for the interpreter's lock."""


@dataclass(frozen=True)
class ReturnSettings:
    """Rulings on returns: `calendar` years or days / `365` for annualising (runbook.yaml)."""

    annualisation_basis: AnnualisationBasis = "calendar"


@dataclass(frozen=True)
class Returns:
    """`table`: COMPUTED_RETURNS; `states`: COMPUTED_STATES.

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
        pa.concat_tables([COMPUTED_RETURNS.empty_table(), *(part.table for part in parts)]),
        pa.concat_tables([COMPUTED_STATES.empty_table(), *(part.states for part in parts)]),
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
    # Numba's import takes half a second: only where returns are computed.
    from pipeline_platform.advisory_performance.return_blocks import (  # noqa: PLC0415
        returns_of_block,
    )

    batch = AccountDays(valuations, flows, states, history)
    covered = _months_covered(valuations, months)

    def work(span: tuple[int, int]) -> Returns:
        block = batch.block(*span)
        return Returns(*returns_of_block(block, covered, settings.annualisation_basis))

    with ThreadPoolExecutor(threads, thread_name_prefix="returns") as pool:
        waiting: deque[Future[Returns]] = deque()
        for span in batch.blocks(rows_per_block, len(covered)):
            waiting.append(pool.submit(work, span))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _months_covered(valuations: pa.Table, months: tuple[date, date] | None) -> Integers:
    days = pc.min_max(valuations["as_of_date"])
    first_day, last_day = months or (days["min"].as_py(), days["max"].as_py())
    if first_day is None:
        return np.empty(0, np.int64)
    first, last = month_index(np.array([day_number(first_day), day_number(last_day)], np.int32))
    return np.arange(first, last + 1)
