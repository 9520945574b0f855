"""Gold to PostgreSQL: one month of `performance_data` at a time, swapped in whole.

The load, the completion of the month and the completion of the files that waited for it are one
transaction, so the register never says more than the table holds (SA-24).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import psycopg
import pyarrow as pa

from pipeline_platform.advisory_performance.account_ranges import (
    ALL_ACCOUNTS,
    NO_ACCOUNT,
    AccountRange,
    each_range,
)
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    RECONCILIATION,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.partition_ranges import partition_key
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.bulk_load import replace_month
from pipeline_platform.warehouse.figure_reads import record_load
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.progress import layer_versions

BATCH_ROWS = 20_480
_STATUSES_WORST_FIRST = ("BREACH", "MISSING_OURS", "MISSING_VENDOR", "PENDING", "COMPLETED")

_QUERY = """
WITH figures AS (
    SELECT *
    FROM reconciliation
    QUALIFY row_number() OVER (
        PARTITION BY account_id, as_of_date
        ORDER BY list_position($worst_first, reconciliation_status), period != 'daily',
            basis != 'net', period, basis
    ) = 1
)
SELECT
    r.account_id, r.as_of_date, r.vendor AS data_source, r.currency, r.account_class,
    r.market_value, r.net_external_flow,
    r.net_return_daily, r.net_return_mtd, r.net_return_qtd, r.net_return_ytd,
    r.net_return_since_inception, r.net_return_one_year, r.net_return_three_years,
    r.net_return_five_years, r.gross_return_daily,
    f.vendor_return,
    CASE WHEN f.period IS NOT NULL THEN f.period END AS reported_period,
    f.difference_bps, f.tolerance_bps,
    coalesce(f.reconciliation_status, 'PENDING') AS reconciliation_status,
    r.return_status, r.is_estimated, r.record_start_date,
    v.file_sha256 AS source_file_sha256, v.line_number AS source_line_number,
    CAST($snapshot_id AS BIGINT) AS lake_snapshot_id, $run_id AS run_id,
    CAST($loaded_at AS TIMESTAMPTZ) AS created_at
FROM returns AS r
LEFT JOIN figures AS f ON r.account_id = f.account_id AND r.as_of_date = f.as_of_date
LEFT JOIN valuations AS v ON r.account_id = v.account_id AND r.as_of_date = v.as_of_date
"""


@dataclass(frozen=True)
class ServedMonth:
    """One month that was loaded, and the files that are complete with it."""

    month: date
    row_count: int
    completed_files: tuple[str, ...]


def serve_months(run: RunContext, months: Sequence[date]) -> Iterator[ServedMonth]:
    """Load each month of gold into `performance_data`, in order."""
    for month in run.while_running(months):
        with named_lock(run.services.database, f"{PIPELINE}/serving/{partition_key(month)}"):
            yield _serve(run, month)


def reload_months(run: RunContext, months: Sequence[date]) -> None:
    """Load months again from gold as it is now; no request is answered, whatever is stopped."""
    for month in months:
        with named_lock(run.services.database, f"{PIPELINE}/serving/{partition_key(month)}"):
            _load(run, month, lambda _: None)


def serving_rows(
    run: RunContext,
    engine: duckdb.DuckDBPyConnection,
    month: date,
    accounts: AccountRange = ALL_ACCOUNTS,
) -> pa.RecordBatchReader:
    """Return a month of `performance_data`: our returns with the day's decisive ruling.

    A day with several figures shows the worst one; a day for which no figure was due is PENDING.
    """
    lake = run.services.lake
    span = (month, month)
    published = lake.last_publication(TIME_WEIGHTED_RETURNS)
    for name, table in (("returns", TIME_WEIGHTED_RETURNS), ("valuations", VALUATIONS)):
        rows = lake.relation(engine, table, months=span)
        rows.filter(f"is_current AND {accounts.condition}").create_view(name)
    rulings = lake.relation(engine, RECONCILIATION, months=span)
    rulings.filter(accounts.condition).create_view("reconciliation")
    parameters = {
        "worst_first": list(_STATUSES_WORST_FIRST),
        "snapshot_id": published.snapshot_id if published else None,
        "run_id": run.run_id,
        "loaded_at": run.now(),
    }
    # Not `sql`: a relation with parameters keeps every value as a Python object (measured: ten
    # times the time).
    return engine.execute(_QUERY, parameters).to_arrow_reader(BATCH_ROWS)


def _serve(run: RunContext, month: date) -> ServedMonth:
    key = partition_key(month)
    database = run.services.database
    with database.connection() as connection:
        version = layer_versions(connection, PIPELINE, "gold", [key]).get(key)
    completed: list[str] = []

    def finish(connection: psycopg.Connection[Any]) -> None:
        if version is not None:
            completed.extend(
                control.finish_partition(connection, PIPELINE, key, version, run.now())
            )

    rows = _load(run, month, finish)
    return ServedMonth(month, rows, tuple(completed))


def _load(run: RunContext, month: date, finish: Callable[[psycopg.Connection[Any]], None]) -> int:
    """Swap a month in, record since when it is served, and finish in the same transaction."""
    # Read before the rows: what is published meanwhile is never taken for what was loaded.
    published = run.services.lake.last_publication(TIME_WEIGHTED_RETURNS)

    def on_commit(connection: psycopg.Connection[Any]) -> None:
        if published is not None:
            record_load(connection, PIPELINE, partition_key(month), published.committed_at)
        finish(connection)

    source = pa.RecordBatchReader.from_batches(_schema(run, month), _batches(run, month))
    return replace_month(run.services.database, month, source, on_commit=on_commit)


def _batches(run: RunContext, month: date) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a month, range by range of accounts."""
    for engine, accounts in each_range(run, TIME_WEIGHTED_RETURNS, [month]):
        yield from serving_rows(run, engine, month, accounts)


def _schema(run: RunContext, month: date) -> pa.Schema:
    """Return the columns of a month's rows, without reading any."""
    with run.services.connect() as engine:
        return serving_rows(run, engine, month, NO_ACCOUNT).schema
