"""Silver to gold: returns of months, linked from the month before, reconciled and compared.

A month links from the state in which the month before it ended, so months run in order; a
correction recomputes its own month and all later ones of its account alone, and a row that comes
out as before keeps its version.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import duckdb

from pipeline_platform.advisory_performance.account_ranges import (
    AccountRange,
    each_of,
    each_range,
)
from pipeline_platform.advisory_performance.causes import explain_breaches
from pipeline_platform.advisory_performance.measured_accounts import StoredRows, measure_accounts
from pipeline_platform.advisory_performance.months import rows_within
from pipeline_platform.advisory_performance.reconciliation import (
    Tolerances,
    reconcile,
    reporting_calendar,
)
from pipeline_platform.advisory_performance.refinement import months_filter
from pipeline_platform.advisory_performance.restatements import Materiality, restatements
from pipeline_platform.advisory_performance.rulings import Runbook
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    EXTERNAL_FLOWS,
    PIPELINE,
    RECONCILIATION,
    REPORTED_RETURNS,
    RESTATEMENTS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.code_version import code_version
from pipeline_platform.lake.streamed_files import StreamedFiles
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import (
    dates_in,
    partition_key,
    pieces,
    shifted,
    span_of,
)
from pipeline_platform.warehouse.progress import layer_versions, record_versions

ANY = "*"


@dataclass(frozen=True)
class MeasuredMonths:
    """What one piece of a range produced.

    `measured_accounts` is of how many accounts returns were computed; None where none are.
    """

    months: tuple[date, ...]
    row_count: int
    snapshot_ids: dict[str, int]
    measured_accounts: int | None = None


def measure_range(run: RunContext, months: Sequence[date]) -> Iterator[MeasuredMonths]:
    """Compute and publish the returns of consecutive months, piece by piece and in order."""
    lake, limit = run.services.lake, rows_within(run.services.settings.memory_limit)
    for table in (VALUATIONS, EXTERNAL_FLOWS, TIME_WEIGHTED_RETURNS, ACCOUNT_STATES):
        lake.ensure(table)
    work = pieces(months, dates_in(lake.partitions(VALUATIONS)), limit)
    for piece in run.while_running(work):
        yield _measure_piece(run, piece)


def reconcile_range(run: RunContext, months: Sequence[date]) -> Iterator[MeasuredMonths]:
    """Compare our returns with the vendors' and publish a ruling per figure."""
    lake, limit = run.services.lake, rows_within(run.services.settings.memory_limit)
    record_tolerances(run)
    for table in (TIME_WEIGHTED_RETURNS, REPORTED_RETURNS, RECONCILIATION):
        lake.ensure(table)
    rows = dates_in(lake.partitions(TIME_WEIGHTED_RETURNS))
    for piece in run.while_running(pieces(months, rows, limit)):

        def rulings(
            engine: duckdb.DuckDBPyConnection,
            accounts: AccountRange,
            months: Sequence[date] = tuple(piece),
        ) -> duckdb.DuckDBPyRelation:
            return reconcile_accounts(run, engine, months, accounts)

        read = (TIME_WEIGHTED_RETURNS, REPORTED_RETURNS, VALUATIONS, EXTERNAL_FLOWS)
        yield _publish(run, RECONCILIATION, rulings, piece, read)


def reconcile_accounts(
    run: RunContext,
    engine: duckdb.DuckDBPyConnection,
    months: Sequence[date],
    accounts: AccountRange,
) -> duckdb.DuckDBPyRelation:
    """Return a ruling per figure of some accounts, with the probable causes of breaches."""
    lake = run.services.lake
    span, before = (months[0], months[-1]), (shifted(months[0], -1), months[-1])

    def read(table: LakeTable, months: tuple[date, date]) -> duckdb.DuckDBPyRelation:
        rows = lake.relation(engine, table, months=months)
        return rows.filter(f"is_current AND {accounts.condition}")

    return explain_breaches(
        engine,
        reconcile(
            engine,
            read(TIME_WEIGHTED_RETURNS, span),
            read(REPORTED_RETURNS, span),
            tolerances_of(run),
            calendar=reporting_calendar(lake.relation(engine, REPORTED_RETURNS, months=span)),
        ),
        valuations=read(VALUATIONS, before),
        flows=read(EXTERNAL_FLOWS, before),
        returns=read(TIME_WEIGHTED_RETURNS, before),
        reported=read(REPORTED_RETURNS, before),
    )


def compare_versions(run: RunContext, months: Sequence[date]) -> Iterator[MeasuredMonths]:
    """List what later deliveries changed in these months, under the error-correction policy."""
    lake, limit = run.services.lake, rows_within(run.services.settings.memory_limit)
    lake.ensure(RESTATEMENTS)
    work = pieces(months, dates_in(lake.partitions(TIME_WEIGHTED_RETURNS)), limit)
    for piece in run.while_running(work):

        def changed(
            engine: duckdb.DuckDBPyConnection,
            accounts: AccountRange,
            span: tuple[date, date] = (piece[0], piece[-1]),
        ) -> duckdb.DuckDBPyRelation:
            valuations, returns = (
                lake.relation(engine, table, months=span).filter(accounts.condition)
                for table in (VALUATIONS, TIME_WEIGHTED_RETURNS)
            )
            return restatements(
                engine,
                valuations=valuations,
                returns=returns,
                materiality=materiality_of(run.runbook),
            )

        yield _publish(run, RESTATEMENTS, changed, piece, (VALUATIONS, TIME_WEIGHTED_RETURNS))


def tolerances_of(run: RunContext) -> Tolerances:
    """Return the runbook's tolerances in the form that reconciliation takes."""
    given = run.runbook.rulings.tolerances
    return Tolerances(
        daily_bps=given.daily_bps,
        longer_bps=given.longer_bps,
        overrides={
            (one.vendor, one.account_class, one.period): one.tolerance_bps
            for one in given.overrides
        },
    )


def record_tolerances(run: RunContext) -> int:
    """Write each tolerance that differs from its last record; return how many did (SA-63)."""
    given = tolerances_of(run)
    wanted: dict[tuple[str, str, str], Decimal] = {
        (ANY, ANY, "daily"): Decimal(str(given.daily_bps)),
        (ANY, ANY, ANY): Decimal(str(given.longer_bps)),
    }
    for key, value in given.overrides.items():
        wanted[key[0] or ANY, key[1] or ANY, key[2] or ANY] = Decimal(str(value))
    with run.services.database.transaction() as connection:
        rows = connection.execute(
            "SELECT DISTINCT ON (vendor, account_class, period) vendor, account_class, period,"
            " tolerance_bps FROM tolerances_history WHERE pipeline = %s"
            " ORDER BY vendor, account_class, period, recorded_at DESC, tolerance_id DESC",
            (PIPELINE,),
        ).fetchall()
        recorded = {tuple(row[:3]): row[3] for row in rows}
        changed = {key: value for key, value in wanted.items() if recorded.get(key) != value}
        for (vendor, account_class, period), value in changed.items():
            connection.execute(
                "INSERT INTO tolerances_history (pipeline, vendor, account_class, period,"
                " tolerance_bps, recorded_at, source_sha256) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    PIPELINE,
                    vendor,
                    account_class,
                    period,
                    value,
                    run.now(),
                    run.runbook.source_sha256,
                ),
            )
    return len(changed)


def materiality_of(runbook: Runbook) -> Materiality:
    """Return the runbook's error-correction policy in the form that comparison takes."""
    given = runbook.rulings.materiality
    return Materiality(
        return_bps=given.return_bps,
        longer_return_bps=given.longer_return_bps,
        account_value_pct=given.account_value_pct,
        short_periods=tuple(given.short_periods),
        notify=tuple(given.notify),
        reissue_times_limit=given.reissue_times_limit,
    )


def _measure_piece(run: RunContext, months: list[date]) -> MeasuredMonths:
    """Publish the months' returns; where no account's inputs changed, what is stored stays."""
    lake, tables = run.services.lake, (TIME_WEIGHTED_RETURNS, ACCOUNT_STATES)
    with run.services.database.connection() as connection:
        versions = layer_versions(connection, PIPELINE, "silver", [*map(partition_key, months)])
    inputs = _snapshots(run, (VALUATIONS, EXTERNAL_FLOWS))
    with lake.streams(*tables, run_id=run.run_id, partition=span_of(months)) as streams:
        computed = _write_changed(run, months, streams)
    if computed:
        properties = {**_properties(), "inputs": inputs}
        for staged in [lake.stage_stream(stream) for stream in streams]:
            lake.publish(staged, replace=months_filter(months), properties=properties)
    with run.services.database.transaction() as connection:
        record_versions(connection, PIPELINE, "gold", versions, run.now())
    published = ((table.name, lake.last_publication(table)) for table in tables)
    rows = dates_in(lake.partitions(TIME_WEIGHTED_RETURNS))
    return MeasuredMonths(
        tuple(months),
        sum(rows.get(month, 0) for month in months),
        {name: found.snapshot_id for name, found in published if found},
        computed,
    )


def _write_changed(run: RunContext, months: list[date], streams: Sequence[StreamedFiles]) -> int:
    """Write the months' rows and return of how many accounts they were computed; 0 = nothing."""
    computed, kept = 0, []
    stored = StoredRows(run.services.lake)
    for engine, accounts in each_range(run, VALUATIONS, months):
        measured = measure_accounts(run, stored, engine, months, accounts)
        if measured.changed.num_rows:
            computed += measured.changed.num_rows
            for stream, rows in zip(streams, (measured.returns, measured.states), strict=True):
                stream.copy(rows, is_sorted=False)
        else:
            kept.append(accounts)
        del measured
    if computed:
        for engine, accounts in each_of(run, kept):
            for stream in streams:
                stream.copy(stored.of(engine, accounts, stream.table, months))
    return computed


def _publish(
    run: RunContext,
    target: LakeTable,
    rows_of: Callable[[duckdb.DuckDBPyConnection, AccountRange], duckdb.DuckDBPyRelation],
    months: Sequence[date],
    inputs: Sequence[LakeTable],
) -> MeasuredMonths:
    """Publish what `rows_of` gives for each range of accounts, as one replacement of the months."""
    lake = run.services.lake
    with lake.streams(target, run_id=run.run_id, partition=span_of(months)) as (stream,):
        for engine, accounts in each_range(run, TIME_WEIGHTED_RETURNS, months):
            stream.copy(rows_of(engine, accounts))
    staged = lake.stage_stream(stream)
    published = lake.publish(
        staged,
        replace=months_filter(months),
        properties={**_properties(), "inputs": _snapshots(run, inputs)},
    )
    return MeasuredMonths(tuple(months), staged.row_count, {target.name: published.snapshot_id})


def _properties() -> dict[str, str]:
    return {"code_version": code_version()}


def _snapshots(run: RunContext, tables: Sequence[LakeTable]) -> str:
    """Name the snapshots that a publication was computed from."""
    latest = ((table, run.services.lake.last_publication(table)) for table in tables)
    return ",".join(f"{table.name}@{found.snapshot_id}" for table, found in latest if found)
