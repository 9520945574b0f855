"""The returns of some accounts: computed where their inputs changed, kept where they did not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial, reduce

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.account_ranges import AccountRange
from pipeline_platform.advisory_performance.changed_inputs import (
    HISTORY_MONTHS,
    account_inputs,
    first_changed,
    linked_months,
    with_measured_fingerprints,
)
from pipeline_platform.advisory_performance.relations import as_view
from pipeline_platform.advisory_performance.return_versions import with_versions
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    COMPUTED_RETURNS,
    COMPUTED_STATES,
    EXTERNAL_FLOWS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.advisory_performance.twrr import (
    ROWS_PER_BLOCK,
    Returns,
    ReturnSettings,
    iterate_returns,
)
from pipeline_platform.code_version import code_version
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import dates_in, month_of, month_range, shifted, stretches

HISTORY_COLUMNS = (
    "account_id",
    "as_of_date",
    "net_growth_index",
    "gross_growth_index",
    "record_start_date",
)
Stored = Callable[[LakeTable, Iterable[date]], duckdb.DuckDBPyRelation]
IS_MEASURED = "as_of_month >= first_month"


@dataclass(frozen=True)
class MeasuredAccounts:
    """Rows of TIME_WEIGHTED_RETURNS, with all versions, and of ACCOUNT_STATES, both sorted.

    `changed` (account_id, first_month) are the accounts that were computed, each from a month on;
    the rows of other accounts and of earlier months are those that are stored.
    """

    returns: duckdb.DuckDBPyRelation
    states: duckdb.DuckDBPyRelation
    changed: pa.Table


class StoredRows:
    """The lake as it was when each table was first asked for; no range looks anything up again."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._months: dict[LakeTable, set[date]] = {}
        self._queries: dict[tuple[LakeTable, date, date], str] = {}

    def of(
        self,
        engine: duckdb.DuckDBPyConnection,
        accounts: AccountRange,
        table: LakeTable,
        months: Iterable[date],
    ) -> duckdb.DuckDBPyRelation:
        """Return some accounts' rows of some months; only the files of these are opened."""
        if table not in self._months:
            self._months[table] = set(dates_in(self._lake.partitions(table)))
        parts = [
            engine.sql(self._query(table, part[0], part[-1]))
            for part in stretches(self._months[table].intersection(months), "month")
        ]
        found = parts or [engine.from_arrow(table.schema.empty_table())]
        return reduce(duckdb.DuckDBPyRelation.union, found).filter(accounts.condition)

    def _query(self, table: LakeTable, first: date, last: date) -> str:
        key = (table, first, last)
        if key not in self._queries:
            self._queries[key] = self._lake.pin(table, months=(first, last)).query
        return self._queries[key]


def measure_accounts(
    run: RunContext,
    stored_rows: StoredRows,
    engine: duckdb.DuckDBPyConnection,
    months: Sequence[date],
    accounts: AccountRange,
) -> MeasuredAccounts:
    """Return the returns of consecutive months, computing what depends on changed inputs."""
    stored = partial(stored_rows.of, engine, accounts)
    settings = ReturnSettings(annualisation_basis=run.runbook.rulings.annualisation_basis)
    method = f"{code_version()} {settings}"
    returns, states = (stored(one, months) for one in (TIME_WEIGHTED_RETURNS, ACCOUNT_STATES))
    given = account_inputs(
        months,
        valuations=stored(VALUATIONS, months).filter("is_current"),
        flows=stored(EXTERNAL_FLOWS, months).filter("is_current"),
        returns=returns,
        states=states.union(stored(ACCOUNT_STATES, linked_months(months))),
    )
    changed = first_changed(given, method)
    if not changed.num_rows:
        return MeasuredAccounts(returns, states, changed)
    work = _ChangedAccounts(engine, stored, changed, months)
    computed = _computed(work, settings, run.services.settings.threads)
    new_returns = engine.from_arrow(
        with_versions(
            computed.table,
            work.rows(TIME_WEIGHTED_RETURNS, work.months, IS_MEASURED),
            published_at=run.now(),
        )
    )
    new_states = engine.from_arrow(
        with_measured_fingerprints(work.measured(computed.states), new_returns, given, method)
    )
    if changed.num_rows < len(given.accounts) or work.starts != [months[0]]:
        new_returns = work.others(returns).union(new_returns)
        new_returns = new_returns.order("account_id, as_of_date, known_from")
        new_states = work.others(states).union(new_states).order("account_id, as_of_month")
    return MeasuredAccounts(new_returns, new_states, changed)


class _ChangedAccounts:
    """The accounts that are measured anew, each from its `first_month` to the last of `months`."""

    def __init__(
        self,
        engine: duckdb.DuckDBPyConnection,
        stored: Stored,
        changed: pa.Table,
        months: Sequence[date],
    ) -> None:
        self._engine = engine
        self._stored = stored
        self._name = as_view(engine.from_arrow(changed), "changed")
        self.starts: list[date] = sorted(set(changed["first_month"].to_pylist()))
        self.months = [month for month in months if month >= self.starts[0]]

    def rows(self, table: LakeTable, months: Iterable[date], condition: str) -> pa.Table:
        """Return what is stored of these accounts in some months, where `condition` holds."""
        return self._joined(self._stored(table, months), condition).to_arrow_table()

    def measured(self, states: pa.Table) -> pa.Table:
        """Leave out states before an account's first month, which are those that are stored."""
        return self._joined(self._engine.from_arrow(states), IS_MEASURED).to_arrow_table()

    def others(self, rows: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Return the rows of accounts and months that are not measured anew."""
        return self._engine.sql(
            f"SELECT * FROM {as_view(rows)} given ANTI JOIN {self._name} changed"
            f" ON given.account_id = changed.account_id AND {IS_MEASURED}"
        )

    def _joined(self, rows: duckdb.DuckDBPyRelation, condition: str) -> duckdb.DuckDBPyRelation:
        return self._engine.sql(
            f"SELECT given.* FROM {as_view(rows)} given JOIN {self._name} USING (account_id)"
            f" WHERE {condition}"
        )


def _computed(work: _ChangedAccounts, settings: ReturnSettings, threads: int) -> Returns:
    """Compute the returns of changed accounts, each from the state before its first month."""
    states = work.rows(
        ACCOUNT_STATES,
        (shifted(start, -1) for start in work.starts),
        "as_of_month = first_month - INTERVAL 1 MONTH",
    )
    valuations = work.rows(VALUATIONS, work.months, f"is_current AND {IS_MEASURED}")
    flows = work.rows(
        EXTERNAL_FLOWS,
        month_range(_first_flow_month(states, work.starts[0]), work.months[-1]),
        "is_current",
    )
    kept_months = [month for month in work.months if month < work.starts[-1]]
    history = work.rows(
        TIME_WEIGHTED_RETURNS,
        [*linked_months(work.months, HISTORY_MONTHS), *kept_months],
        "is_current AND as_of_month < first_month",
    )
    parts = list(
        iterate_returns(
            valuations,
            flows,
            states=states,
            history=history.select(HISTORY_COLUMNS),
            settings=settings,
            months=(work.months[0], work.months[-1]),
            threads=threads,
            rows_per_block=max(1, min(ROWS_PER_BLOCK, valuations.num_rows // (2 * threads))),
        )
    )
    return Returns(
        pa.concat_tables([COMPUTED_RETURNS.empty_table(), *(part.table for part in parts)]),
        pa.concat_tables([COMPUTED_STATES.empty_table(), *(part.states for part in parts)]),
    )


def _first_flow_month(states: pa.Table, first: date) -> date:
    """Return the month from which flows may still be uncounted: that of the oldest last value."""
    oldest = pc.min(states["as_of_date"]).as_py()
    return min(month_of(oldest), first) if oldest else first
