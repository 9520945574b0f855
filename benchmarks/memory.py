"""Peak memory while one delivered file ten times the memory limit goes from landing to serving.

    python -m benchmarks.memory [--limit 128MB] [--times 10] [--small]

Bar (design, section 6): memory is bounded by a setting, not by input: a file ten times the memory
limit is processed under the limit.

One standard CSV of business days, sorted by account (`--by-day`: by day), is put into `incoming/`.
A process with PLATFORM_MEMORY_LIMIT set takes it through the same functions as the assets:
landing to bronze, silver (with its audit), returns, reconciliation, restatements, dbt marts,
`performance_data`. The kernel's high-water mark of resident memory is read and reset after each
stage. The same process with a file of a few rows over the same months is the baseline: what
Python, its libraries and connections take anyway. **Growth** is the difference, stage by stage;
the bar is met when no stage's growth exceeds the limit. PostgreSQL's own processes are not
counted.

For context, three bare readers of the same file, less what their imports take: pandas; DuckDB
under the same limit, CSV to Parquet; DuckDB's CSV to a table in memory.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bulk_delivery import write_delivery
from benchmarks.sandbox import Finished, environment, platform_home, run_module
from pipeline_platform.memory import begin_peak, peak_bytes
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pipeline_platform.advisory_performance.run_context import RunContext

MODULE = "benchmarks.memory"
FIRST_DAY = date(2025, 1, 1)
BUSINESS_DAYS = 130
BYTES_PER_LINE = 59
MEGABYTE = 1_000_000
BASELINE_ACCOUNTS = 2


class PeakMemory:
    """The kernel's high-water mark of this process's resident memory, since the last reset."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage: highest resident bytes while it ran, and its seconds."""
        begin_peak()
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = {
                "peak_bytes": peak_bytes() or 0,
                "seconds": time.perf_counter() - began,
            }


def to_bronze(run: "RunContext") -> int:
    """Take the file that waits in `incoming/` to bronze."""
    from pipeline_platform.advisory_performance.ingestion import ingest_arrivals

    outcomes = list(ingest_arrivals(run))
    if [one.status for one in outcomes] != ["published"]:
        raise RuntimeError(f"The file was not published: {outcomes}")
    return sum(one.published_rows for one in outcomes)


def to_silver(run: "RunContext") -> int:
    """Type, judge and audit all months."""
    from pipeline_platform.advisory_performance import refinement
    from pipeline_platform.advisory_performance.months import rows_within
    from pipeline_platform.partition_ranges import pieces

    rows, count = _months(run), 0
    for piece in pieces([*rows], rows, rows_within(run.services.settings.memory_limit)):
        silver = refinement.stage_months(run, piece)
        refinement.publish_months(run, silver)
        count += silver.counts["valuations"]
    return count


def to_returns(run: "RunContext") -> int:
    """Measure all months."""
    from pipeline_platform.advisory_performance.measurement import measure_range

    return sum(one.row_count for one in measure_range(run, [*_months(run)]))


def to_rulings(run: "RunContext") -> int:
    """Reconcile all months."""
    from pipeline_platform.advisory_performance.measurement import reconcile_range

    return sum(one.row_count for one in reconcile_range(run, [*_months(run)]))


def to_restatements(run: "RunContext") -> int:
    """Compare the versions of all months."""
    from pipeline_platform.advisory_performance.measurement import compare_versions

    return sum(one.row_count for one in compare_versions(run, [*_months(run)]))


def to_marts(run: "RunContext") -> int:
    """Build and publish the marts of all months; return in how many pieces."""
    from pipeline_platform.advisory_performance.marts import MARTS
    from pipeline_platform.orchestration.mart_builds import build_pieces

    return sum(1 for _ in build_pieces(run.services, MARTS, [*_months(run)], {}, run.run_id))


def to_serving(run: "RunContext") -> int:
    """Load all months into `performance_data`."""
    from pipeline_platform.advisory_performance.serving import serve_months

    return sum(one.row_count for one in serve_months(run, [*_months(run)]))


HOPS: dict[str, Callable[["RunContext"], int]] = {
    "landing to bronze": to_bronze,
    "bronze to silver, audited": to_silver,
    "returns": to_returns,
    "reconciliation": to_rulings,
    "restatements": to_restatements,
    "marts (dbt)": to_marts,
    "performance_data": to_serving,
}


def process(peaks: PeakMemory, hops: Sequence[str]) -> dict[str, int]:
    """Take the file that waits in `incoming/` through hops; return what each gave."""
    from pipeline_platform.advisory_performance.run_context import RunContext
    from pipeline_platform.services import Services

    rows = {}
    with Services(Settings.from_env()) as services:
        run = RunContext(services, "memory-benchmark")
        for name in hops:
            with peaks.stage(name):
                rows[name] = HOPS[name](run)
    return rows


def _months(run: "RunContext") -> dict[date, int]:
    from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
    from pipeline_platform.partition_ranges import dates_in

    return dates_in(run.services.lake.partitions(VENDOR_ROWS))


def read_with_pandas(path: Path, limit: str) -> None:
    """Read the whole file into a frame, as most scripts begin."""
    del limit
    import pandas as pd

    print(len(pd.read_csv(path)) if path.exists() else 0, file=sys.stderr)


def convert_with_duckdb(path: Path, limit: str) -> None:
    """Stream the file into Parquet with a bare DuckDB under the same limit."""
    import duckdb

    with duckdb.connect(config={"memory_limit": limit, "threads": "2"}) as engine:
        engine.execute(f"SET temp_directory = '{path.parent}/spill'")
        engine.execute("SET preserve_insertion_order = false")
        if path.exists():
            engine.execute(f"COPY (FROM read_csv('{path}')) TO '{path}.parquet'")


def load_with_duckdb(path: Path, limit: str) -> None:
    """Load the file into a table in memory with a bare DuckDB without a limit."""
    del limit
    import duckdb

    with duckdb.connect() as engine:
        if path.exists():
            engine.execute(f"CREATE TABLE rows AS FROM read_csv('{path}')")


READERS: dict[str, Callable[[Path, str], None]] = {
    "pandas.read_csv": read_with_pandas,
    "DuckDB, CSV to Parquet, same limit": convert_with_duckdb,
    "DuckDB, CSV to memory": load_with_duckdb,
}


def measure(settings: Settings, path: Path, hops: Sequence[str] = (*HOPS,)) -> Finished:
    """Deliver a file to an empty platform and take it through hops in a process of its own."""
    incoming = settings.home / "landing" / "advisory_performance" / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    os.link(path, incoming / path.name)
    given = [part for hop in hops for part in ("--hop", hop)]
    return run_module(MODULE, ["--child", "process", *given], environment(settings))


def growth_by_hop(baseline: Finished, full: Finished) -> dict[str, float]:
    """Return by how many bytes each hop's peak is above that of the baseline."""
    return {
        name: stage["peak_bytes"] - baseline.answer["stages"][name]["peak_bytes"]
        for name, stage in full.answer["stages"].items()
    }


def compare_readers(path: Path, settings: Settings) -> list[tuple[str, float, Finished]]:
    """Measure the bare readers of a file, less their imports: (reader, growth in bytes, run)."""
    rows = []
    for name in READERS:
        given = ["--child", name, "--limit", settings.memory_limit, "--file"]
        empty = run_module(MODULE, [*given, "/nonexistent/file"], environment(settings))
        full = run_module(MODULE, [*given, str(path)], environment(settings))
        growth = full.answer["peak_bytes"] - empty.answer["peak_bytes"]
        rows.append((name, growth, full))
    return rows


def show(limit: float, size: int, baseline: Finished, full: Finished) -> list[str]:
    """Print growth by stage; return the stages that failed or grew beyond the limit."""
    print(f"File of {size / MEGABYTE:,.0f} MB; limit {limit:,.0f} MB; rows {full.answer['rows']}")
    print(f"{'':<36}{'baseline MB':>12}{'peak MB':>10}{'growth MB':>11}{'x limit':>9}{'s':>8}")
    over = []
    for name, grown in growth_by_hop(baseline, full).items():
        stage, growth = full.answer["stages"][name], grown / MEGABYTE
        peak = stage["peak_bytes"] / MEGABYTE
        if growth > limit:
            over.append(name)
        print(
            f"{name:<36}{peak - growth:>12,.0f}{peak:>10,.0f}{growth:>11,.0f}"
            f"{growth / limit:>8.1f}x{stage['seconds']:>8.1f}"
        )
    failure = full.answer["failure"]
    if failure:
        print(f"{list(full.answer['stages'])[-1]} FAILED: {failure}")
        over.append(f"{list(full.answer['stages'])[-1]} (failed)")
    return over


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if any stage grew beyond the limit."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--limit", default="128MB", help="memory limit of the platform, in MB")
    parser.add_argument("--times", type=float, default=10, help="size of the file in limits")
    parser.add_argument("--by-day", action="store_true", help="sort the file by day")
    parser.add_argument("--small", action="store_true", help="a file as large as the limit")
    parser.add_argument("--child", choices=("process", *READERS), help=argparse.SUPPRESS)
    parser.add_argument("--hop", action="append", choices=tuple(HOPS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        return _as_child(given.child, given.file, given.limit, given.hop or [])
    limit = float(given.limit.removesuffix("MB"))
    times = 1 if given.small else given.times
    accounts = round(limit * times * MEGABYTE / BYTES_PER_LINE / BUSINESS_DAYS)

    def deliver(settings: Settings, accounts: int) -> Path:
        path = settings.home / "standard_memory.csv"
        order = not given.by_day
        write_delivery(
            path, accounts=accounts, first=FIRST_DAY, days=BUSINESS_DAYS, is_by_account=order
        )
        return path

    with platform_home(memory_limit=given.limit) as settings:
        baseline = measure(settings, deliver(settings, BASELINE_ACCOUNTS))
    if baseline.answer["failure"]:
        raise SystemExit(f"Even the baseline failed: {baseline.answer['failure']}")
    with platform_home(memory_limit=given.limit) as settings:
        path = deliver(settings, accounts)
        size = path.stat().st_size
        full = measure(settings, path)
        readers = compare_readers(path, settings)
    over = show(limit, size, baseline, full)
    for name, growth, finished in readers:
        grown, failure = growth / MEGABYTE, finished.answer["failure"]
        print(
            f"{'bare: ' + name:<58}{grown:>11,.0f}{grown / limit:>8.1f}x"
            f"{finished.answer['seconds']:>8.1f}{'  FAILED: ' + failure if failure else ''}"
        )
    words = f"MISSED in {', '.join(over)}" if over else "met"
    fold = size / MEGABYTE / limit
    print(f"Bar, growth of every stage within {limit:,.0f} MB, file {fold:.1f} x that: {words}.")
    return 1 if over else 0


def _as_child(what: str, path: Path, limit: str, hops: Sequence[str]) -> int:
    answer: dict[str, object] = {"rows": {}, "failure": None}
    began = time.perf_counter()
    if what == "process":
        peaks = PeakMemory()
        try:
            answer["rows"] = process(peaks, hops)
        except Exception as error:
            answer["failure"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        answer["stages"] = peaks.stages
    else:
        try:
            READERS[what](path, limit)
        except Exception as error:
            answer["failure"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    answer["seconds"] = time.perf_counter() - began
    answer["peak_bytes"] = peak_bytes() or 0
    print(json.dumps(answer), flush=True)
    if answer["failure"]:
        # Out of memory, DuckDB's threads still hold the reader of the delivery: Python would
        # abort while it ends, and the answer is given.
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
