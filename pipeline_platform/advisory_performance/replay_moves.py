"""How score and gold would move if a replay's months were processed (B-9).

Returns and rulings are computed by the functions that process months, over a lake in which
temporary files stand in for what would be published; nothing is stored. Timeliness is left as it
is now: when a replayed file will be served can't be foretold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from pipeline_platform.advisory_performance.account_ranges import each_range
from pipeline_platform.advisory_performance.measured_accounts import StoredRows, measure_accounts
from pipeline_platform.advisory_performance.measurement import reconcile_accounts
from pipeline_platform.advisory_performance.measures import MEASURES, score_of
from pipeline_platform.advisory_performance.months import rows_within
from pipeline_platform.advisory_performance.relations import as_view, unique_name
from pipeline_platform.advisory_performance.replay_trial import Judgement
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    BASES,
    RECONCILIATION,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.lake.trial_lake import TrialLake, write_rows
from pipeline_platform.partition_ranges import dates_in, partition_key, pieces
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.measures import ALL, Scope
from pipeline_platform.quality.thresholds import Dimension

EXAMPLES = 3


@dataclass(frozen=True)
class ReturnMove:
    """An account's return of a month to its last day (1 = 100 %), now and then; None = none."""

    account_id: str
    basis: str
    before: Decimal | None
    after: Decimal | None


@dataclass(frozen=True)
class MonthFigures:
    """Score (0 to 100, also by dimension), current account-days of gold, pass rate (percent)."""

    score: float | None
    dimensions: Mapping[Dimension, float | None]
    account_days: int
    pass_rate: float | None


@dataclass(frozen=True)
class MonthMove:
    """A month's figures now and after it was processed.

    `changed_accounts` have another return of the month, net or gross; `returns` are the first.
    """

    month: str
    before: MonthFigures
    after: MonthFigures
    changed_accounts: int
    returns: tuple[ReturnMove, ...]


def month_moves(
    run: RunContext, months: Sequence[date], judgement: Judgement, folder: Path
) -> tuple[MonthMove, ...]:
    """Compute consecutive judged months as if their silver was published; name those that move.

    Judging must have kept its silver. What is computed is written to `folder`.
    """
    lake = TrialLake(run.services.lake)
    for kept in judgement.silver:
        lake.put(kept.table, kept.span, [str(kept.path)])
    trial = replace(run, services=run.services.with_lake(lake))
    _compute(trial, lake, months, folder)
    found = (_move(run, trial, month, judgement.ledger) for month in months)
    return tuple(one for one in found if one.changed_accounts or one.before != one.after)


def _compute(run: RunContext, lake: TrialLake, months: Sequence[date], folder: Path) -> None:
    """Compute gold in order, so that each piece of months sees those before it."""
    limit = rows_within(run.services.settings.memory_limit)
    for piece in pieces(months, dates_in(lake.partitions(VALUATIONS)), limit):
        span = (piece[0], piece[-1])
        returns: list[str] = []
        states: list[str] = []
        rulings: list[str] = []
        stored = StoredRows(lake)
        for engine, accounts in each_range(run, VALUATIONS, piece):
            computed = measure_accounts(run, stored, engine, piece, accounts)
            for table, rows, paths in (
                (TIME_WEIGHTED_RETURNS, computed.returns, returns),
                (ACCOUNT_STATES, computed.states, states),
            ):
                path = str(folder / f"{unique_name(table.name)}.parquet")
                paths.append(write_rows(table, rows, path))
        lake.put(TIME_WEIGHTED_RETURNS, span, returns)
        lake.put(ACCOUNT_STATES, span, states)
        for engine, accounts in each_range(run, TIME_WEIGHTED_RETURNS, piece):
            path = str(folder / f"{unique_name(RECONCILIATION.name)}.parquet")
            found = reconcile_accounts(run, engine, piece, accounts)
            rulings.append(write_rows(RECONCILIATION, found, path))
        lake.put(RECONCILIATION, span, rulings)


def _move(
    run: RunContext, trial: RunContext, month: date, ledger: Sequence[LedgerEntry]
) -> MonthMove:
    judged = [one for one in ledger if one.partition_key == partition_key(month)]
    moved = list(_return_moves(run, trial, month))
    return MonthMove(
        partition_key(month),
        _figures(run, month, None),
        _figures(trial, month, judged),
        len({one.account_id for one in moved}),
        tuple(moved[:EXAMPLES]),
    )


def _figures(run: RunContext, month: date, judged: Sequence[LedgerEntry] | None) -> MonthFigures:
    scope = Scope(run, (month,))
    with run.services.connect() as engine:
        score = score_of(engine, scope, month, judged)
        rows = run.services.lake.relation(engine, TIME_WEIGHTED_RETURNS, months=(month, month))
        days = rows.filter("is_current").aggregate("count(*)").fetchall()[0][0]
    passed = MEASURES["reconciliation_pass_rate"](scope)[ALL]
    return MonthFigures(score.overall, score.dimensions, days, passed.value)


def _return_moves(run: RunContext, trial: RunContext, month: date) -> Iterator[ReturnMove]:
    """Yield every return of the month that differs, in order of accounts."""
    columns = ", ".join(f"{basis}_return_mtd AS {basis}" for basis in BASES)
    with run.services.connect() as engine:
        before, after = (
            as_view(
                one.services.lake.relation(engine, TIME_WEIGHTED_RETURNS, months=(month, month))
            )
            for one in (run, trial)
        )
        last = (
            f"SELECT account_id, {columns} FROM {{}} WHERE is_current"
            " QUALIFY row_number() OVER (PARTITION BY account_id ORDER BY as_of_date DESC) = 1"
        )
        query = " UNION ALL ".join(
            f"SELECT account_id, '{basis}' AS basis, old.{basis}, new.{basis}"
            f" FROM ({last.format(before)}) old FULL JOIN ({last.format(after)}) new"
            f" USING (account_id) WHERE old.{basis} IS DISTINCT FROM new.{basis}"
            for basis in BASES
        )
        found = engine.execute(f"{query} ORDER BY account_id, basis DESC")
        while row := found.fetchone():
            yield ReturnMove(*row)
