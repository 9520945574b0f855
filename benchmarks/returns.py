"""Returns of every account-day, side by side with bare DuckDB, Polars and pandas.

Ours computes all periods, net and gross, as decimals, from the silver tables as they are; the
bare engines compute only three figures (daily, month to date, since inception) as doubles, from
one joined and sorted table of doubles that is made for them. The bar: ours takes at most twice
the time of the fastest of them. `ours` is the form that runs use: block by block of accounts, in
bounded memory; `ours_kept` holds all its columns in memory, as theirs are held. Every
contender runs in a process of its own with its input already in memory; results are compared
with DuckDB's.

    python -m benchmarks.returns --accounts 400 --days 2500
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from pipeline_platform.advisory_performance.tables import EXTERNAL_FLOWS, VALUATIONS
from pipeline_platform.advisory_performance.twrr import (
    ReturnSettings,
    compute_returns,
    iterate_returns,
)
from pipeline_platform.memory import bound_allocator
from pipeline_platform.settings import Settings

BAR = 2.0
FLOW_SHARE = 0.01
FIGURES = ("daily", "mtd", "since_inception")
TOLERANCE = 1e-9
DUCKDB_QUERY = """
WITH days AS (
    SELECT account_id, as_of_date,
        market_value / (lag(market_value) OVER (
            PARTITION BY account_id ORDER BY as_of_date) + external_flow) AS growth
    FROM bare
)
SELECT account_id, as_of_date, growth - 1 AS daily,
    exp(sum(ln(growth)) OVER (
        PARTITION BY account_id, date_trunc('month', as_of_date)
        ORDER BY as_of_date ROWS UNBOUNDED PRECEDING)) - 1 AS mtd,
    exp(sum(ln(growth)) OVER (
        PARTITION BY account_id ORDER BY as_of_date
        ROWS UNBOUNDED PRECEDING)) - 1 AS since_inception
FROM days
"""
WANTED = (
    "account_id",
    "as_of_date",
    "as_of_month",
    "vendor",
    "market_value",
    "currency",
    "fees",
    "account_class",
)


def make_inputs(folder: Path, accounts: int, days: int) -> None:
    """Write silver valuations and flows and, for the bare engines, one table of doubles."""
    random = np.random.default_rng(20240102)
    business_days = np.busday_offset("2014-01-01", np.arange(days), roll="forward")
    rows = accounts * days
    growth = 1.0 + random.normal(0.0003, 0.01, (accounts, days))
    has_flow = random.random((accounts, days)) < FLOW_SHARE
    has_flow[:, 0] = False
    cents = np.empty((accounts, days), np.int64)
    flow_cents = np.where(has_flow, random.integers(1, 1_000_000, (accounts, days)), 0)
    cents[:, 0] = random.integers(1_000_000, 500_000_000, accounts)
    for day in range(1, days):
        cents[:, day] = (cents[:, day - 1] + flow_cents[:, day]) * growth[:, day] + 1
    names = pa.array([f"ACC-{number:08d}" for number in range(accounts)])
    account_id = names.take(pa.array(np.repeat(np.arange(accounts), days)))
    day_column = np.tile(business_days, accounts)

    def repeated(text: str, count: int) -> pa.Array:
        return pa.array([text]).take(pa.array(np.zeros(count, np.int64)))

    valuations = {
        "account_id": account_id,
        "as_of_date": pa.array(day_column),
        "as_of_month": pa.array(day_column.astype("datetime64[M]").astype("datetime64[D]")),
        "vendor": repeated("standard", rows),
        "market_value": _money(cents.reshape(-1)),
        "currency": repeated("USD", rows),
        "fees": _money(random.integers(0, 20, rows)),
        "account_class": repeated("equity", rows),
    }
    schema = pa.schema([VALUATIONS.schema.field(name) for name in WANTED])
    feather.write_feather(
        pa.table(valuations, schema=schema), folder / "valuations.arrow", compression="lz4"
    )
    at = np.flatnonzero(flow_cents)
    count = len(at)
    flows = {
        "account_id": account_id.take(pa.array(at)),
        "as_of_date": pa.array(day_column[at]),
        "flow_sequence": pa.array(np.zeros(count, np.int32)),
        "amount": _money(flow_cents.reshape(-1)[at]),
        "timing": repeated("start_of_day", count),
        "weight": pa.nulls(count, EXTERNAL_FLOWS.schema.field("weight").type),
        "valuation_before_flow": pa.nulls(count, VALUATIONS.schema.field("fees").type),
        "currency": repeated("USD", count),
    }
    feather.write_feather(pa.table(flows), folder / "flows.arrow", compression="lz4")
    bare = {
        "account_id": account_id,
        "as_of_date": pa.array(day_column),
        "market_value": cents.reshape(-1) / 100,
        "external_flow": flow_cents.reshape(-1) / 100,
    }
    feather.write_feather(pa.table(bare), folder / "bare.arrow", compression="lz4")


class Stopwatch:
    """Measures wall and processor seconds of a `with` block (all threads of the process)."""

    def __enter__(self) -> "Stopwatch":
        """Start."""
        self._started = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._started[0]
        self.cpu_seconds = time.process_time() - self._started[1]


def ours_kept(folder: Path) -> tuple[Stopwatch, pa.Table]:
    """Compute all eight periods and since inception annualised, net and gross, kept in memory."""
    _import_all()
    valuations, flows = _read(folder, "valuations"), _read(folder, "flows")
    with Stopwatch() as watch:
        returns = compute_returns(
            valuations, flows, states=None, history=None, settings=ReturnSettings()
        )
    columns = [f"net_return_{figure}" for figure in FIGURES]
    return watch, returns.table.select(columns).rename_columns(list(FIGURES))


def ours(folder: Path) -> tuple[Stopwatch, None]:
    """Do the same as a run does: block by block, with its allocator, nothing kept."""
    _import_all()
    bound_allocator(Settings(home=folder).memory_bytes)
    valuations, flows = _read(folder, "valuations"), _read(folder, "flows")
    rows = 0
    with Stopwatch() as watch:
        for part in iterate_returns(
            valuations, flows, states=None, history=None, settings=ReturnSettings()
        ):
            rows += part.table.num_rows
    if rows != valuations.num_rows:
        raise SystemExit(f"{valuations.num_rows} account-days went in, {rows} came out.")
    return watch, None


def bare_duckdb(folder: Path) -> tuple[Stopwatch, pa.Table]:
    """Use window functions over doubles; logarithms, because a running product is slower."""
    import duckdb

    bare = _read(folder, "bare")
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.register("bare", bare)
    with Stopwatch() as watch:
        table = connection.sql(DUCKDB_QUERY).to_arrow_table()
    return watch, table.sort_by([("account_id", "ascending"), ("as_of_date", "ascending")])


def bare_polars(folder: Path) -> tuple[Stopwatch, pa.Table]:
    """Use expressions over doubles."""
    import polars as pl

    frame = pl.from_arrow(_read(folder, "bare"))
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("Polars did not read a table.")
    opening = pl.col("market_value").shift(1).over("account_id")
    month = pl.col("as_of_date").dt.truncate("1mo").alias("month")
    linked = pl.col("growth").cum_prod()
    with Stopwatch() as watch:
        result = (
            frame.lazy()
            .with_columns(
                (pl.col("market_value") / (opening + pl.col("external_flow"))).alias("growth"),
                month,
            )
            .select(
                "account_id",
                "as_of_date",
                (pl.col("growth") - 1).alias("daily"),
                (linked.over("account_id", "month") - 1).alias("mtd"),
                (linked.over("account_id") - 1).alias("since_inception"),
            )
            .collect()
        )
    return watch, result.select(FIGURES).to_arrow()


def bare_pandas(folder: Path) -> tuple[Stopwatch, pa.Table]:
    """Use grouped transformations over doubles."""
    frame = _read(folder, "bare").to_pandas(date_as_object=False)
    with Stopwatch() as watch:
        account = frame["account_id"]
        opening = frame.groupby(account, sort=False)["market_value"].shift(1)
        growth = frame["market_value"] / (opening + frame["external_flow"])
        month = frame["as_of_date"].dt.to_period("M")
        frame["daily"] = growth - 1
        frame["mtd"] = growth.groupby([account, month], sort=False).cumprod() - 1
        frame["since_inception"] = growth.groupby(account, sort=False).cumprod() - 1
    return watch, pa.Table.from_pandas(frame[list(FIGURES)], preserve_index=False)


CONTENDERS: dict[str, Callable[[Path], tuple[Stopwatch, pa.Table | None]]] = {
    "ours": ours,
    "ours_kept": ours_kept,
    "bare_duckdb": bare_duckdb,
    "bare_polars": bare_polars,
    "bare_pandas": bare_pandas,
}


def contend(name: str, folder: Path) -> None:
    """Run one contender; print seconds and peak memory, leave its figures in the folder."""
    watch, table = CONTENDERS[name](folder)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if table is not None:
        feather.write_feather(
            table.select(list(FIGURES)), folder / f"{name}.result.arrow", compression="lz4"
        )
    figures = {
        "seconds": watch.seconds,
        "cpu_seconds": watch.cpu_seconds,
        "peak_mib": peak_kib / 1024,
    }
    print(json.dumps(figures))


def largest_difference(folder: Path, name: str) -> float:
    """Return how far a contender's figures are from DuckDB's; nulls must be in the same places."""
    expected, found = _read(folder, "bare_duckdb.result"), _read(folder, f"{name}.result")
    worst = 0.0
    for figure in FIGURES:
        left, right = (
            table[figure].cast(pa.float64()).to_numpy(zero_copy_only=False)
            for table in (expected, found)
        )
        if not np.array_equal(np.isnan(left), np.isnan(right)):
            return float("inf")
        worst = max(worst, float(np.nanmax(np.abs(left - right) / (1 + np.abs(left)))))
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; return 1 where the bar is missed or figures differ, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.returns", description=__doc__)
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--days", type=int, default=2_500)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the best counts")
    parser.add_argument("--contend", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.contend:
        contend(given.contend, given.folder)
        return 0
    with tempfile.TemporaryDirectory(prefix="returns-benchmark-") as name:
        folder = Path(name)
        make_inputs(folder, given.accounts, given.days)
        measured = {each: _measure(each, folder, given.repeat) for each in CONTENDERS}
        differences = {
            each: largest_difference(folder, each) for each in CONTENDERS if each != "ours"
        }
    fastest = min(
        figures["seconds"] for each, figures in measured.items() if each.startswith("bare")
    )
    rows = given.accounts * given.days
    print(f"{rows:,} account-days ({given.accounts:,} accounts x {given.days:,} days), 2 threads")
    heads = ("returns", "seconds", "CPU s", "M rows/s", "peak MiB", "vs fastest")
    print(f"{'':<15}" + "".join(f"{head:>11}" for head in heads))
    for each, figures in measured.items():
        seconds = figures["seconds"]
        cells = (
            str(18 if each.startswith("ours") else len(FIGURES)),
            f"{seconds:.2f}",
            f"{figures['cpu_seconds']:.2f}",
            f"{rows / seconds / 1e6:.2f}",
            f"{figures['peak_mib']:,.0f}",
            f"{seconds / fastest:.2f}x",
        )
        print(f"{each:<15}" + "".join(f"{cell:>11}" for cell in cells))
    print("Largest relative difference from bare_duckdb:", end=" ")
    print(", ".join(f"{each} {worst:.1e}" for each, worst in differences.items()))
    is_met = measured["ours"]["seconds"] <= BAR * fastest
    is_right = all(worst < TOLERANCE for worst in differences.values())
    print(f"Bar (ours at most {BAR:g}x the fastest bare engine): {'met' if is_met else 'missed'}.")
    return 0 if is_met and is_right else 1


def _measure(name: str, folder: Path, repeat: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.returns"]
    command += ["--contend", name, "--folder", str(folder)]
    runs: list[dict[str, float]] = []
    for _ in range(repeat):
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(json.loads(printed.strip().splitlines()[-1]))
    return min(runs, key=lambda run: run["seconds"])


def _import_all() -> None:
    """Import what is imported on first use, as the bare engines are before their time counts."""
    import pandas  # noqa: F401  (Arrow's to_numpy)

    from pipeline_platform.advisory_performance import return_blocks  # noqa: F401


def _read(folder: Path, name: str) -> pa.Table:
    return feather.read_table(folder / f"{name}.arrow", memory_map=False)


def _money(cents: np.ndarray) -> pa.Array:
    words = np.empty((len(cents), 2), np.int64)
    words[:, 0] = cents * 100
    words[:, 1] = cents >> 63
    kind = VALUATIONS.schema.field("market_value").type
    return pa.Array.from_buffers(kind, len(cents), [None, pa.py_buffer(words)])


if __name__ == "__main__":
    sys.exit(main())
