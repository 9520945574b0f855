"""A month into `performance_data` against a bare binary COPY of the same rows (design, section 6).

    python -m benchmarks.load [ROWS]

Bar: 0.6x of the bare COPY, which goes through the same encoder into a table without partitions,
indexes, keys or checks. The two take turns; the median of each counts.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.binary_copy import copy_rows
from pipeline_platform.warehouse.bulk_load import replace_month
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.migrations import migrate

BAR = 0.6
MONTH = date(2026, 10, 1)
_ROUNDS = 3
_RETURNS = (
    *("net_return_daily", "net_return_mtd", "net_return_qtd", "net_return_ytd"),
    *("net_return_since_inception", "net_return_one_year", "net_return_three_years"),
    *("net_return_five_years", "gross_return_daily", "vendor_return"),
)


def sample_rows(count: int) -> pa.Table:
    """Return `count` rows of one month of 31 days, every column filled, in order of the key."""
    returns = ", ".join(
        f"CAST((hash(i, {n}) % 20000 / 1e6) - 0.01 AS DECIMAL(18, 12)) AS {name}"
        for n, name in enumerate(_RETURNS)
    )
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        return engine.sql(
            f"""
            SELECT
                format('ACCOUNT-{{:08d}}', i // 31) AS account_id,
                DATE '{MONTH}' + CAST(i % 31 AS INTEGER) AS as_of_date,
                'standard' AS data_source, 'USD' AS currency, 'equity' AS account_class,
                CAST(hash(i) % 1000000000 / 100 AS DECIMAL(20, 4)) AS market_value,
                CAST(0 AS DECIMAL(20, 4)) AS net_external_flow,
                {returns}, 'daily' AS reported_period,
                CAST(hash(i, 98) % 100 / 10 AS DECIMAL(18, 6)) AS difference_bps,
                CAST(5 AS DECIMAL(18, 6)) AS tolerance_bps,
                CASE WHEN hash(i, 99) % 100 < 97 THEN 'COMPLETED' ELSE 'BREACH' END
                    AS reconciliation_status,
                'measured' AS return_status, false AS is_estimated,
                DATE '2020-01-01' AS record_start_date,
                sha256(CAST(i % 7 AS VARCHAR)) AS source_file_sha256, i AS source_line_number,
                CAST(1234567890123456789 AS BIGINT) AS lake_snapshot_id, 'run' AS run_id,
                TIMESTAMPTZ '2026-11-01 00:00:00+00' AS created_at
            FROM range({count}) AS t (i)
            """
        ).to_arrow_table()


def bare_copy(database: Database, rows: pa.Table) -> None:
    """Copy the rows into a table with the columns and nothing else."""
    with database.transaction() as conn:
        conn.execute("DROP TABLE IF EXISTS bare_copy")
        conn.execute("CREATE TABLE bare_copy AS TABLE performance_data WITH NO DATA")
    with database.transaction() as conn:
        copy_rows(conn, "public", "bare_copy", rows.to_reader())


def measure(rows: int = 1_000_000) -> dict[str, float]:
    """Return seconds of both ways and the ratio (bare / ours)."""
    table = sample_rows(rows)
    with tempfile.TemporaryDirectory(prefix="benchmark-load-") as folder:
        settings = Settings(home=Path(folder), environment="test")
        url = embedded.start(settings)
        try:
            migrate(url)
            with Database(url) as database:
                return _take_turns(database, table)
        finally:
            embedded.stop(settings)


def _take_turns(database: Database, table: pa.Table) -> dict[str, float]:
    with database.transaction() as conn:
        conn.execute("INSERT INTO vendors VALUES ('standard', 'Standard')")
    ways: dict[str, Callable[[], object]] = {
        "bare binary COPY": lambda: bare_copy(database, table),
        "replace_month": lambda: replace_month(
            database, MONTH, table.to_reader(), on_commit=lambda _: None
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {**medians, "ratio": medians["bare binary COPY"] / medians["replace_month"]}


def main() -> int:
    """Print the figures; exit with 1 below the bar."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    figures = measure(rows)
    for name in ("bare binary COPY", "replace_month"):
        print(f"{name:<18}{figures[name]:8.2f} s{rows / figures[name]:14,.0f} rows/s")
    is_met = figures["ratio"] >= BAR
    print(f"{'ratio':<18}{figures['ratio']:8.2f} x   bar {BAR} {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
