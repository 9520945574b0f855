"""The dbt models on both engines, side by side: the same snapshots, growing rows.

    python -m benchmarks.engines [--rows 100000 1000000 5000000] [--remote sc://host:15002]

No bar; the exit code is 1 if the engines' rows differ. `--rows` are account-days: each has a
return, a valuation and a reconciled figure, and one of a hundred a restatement. Every build runs
in a fresh process and twice there: *first* has the imports, the start of dbt and of the engine and
the project's parsing; *again* is the work, with dbt's tests, up to the publication. Peak memory is
the process's, in which Sail runs, too; with `--remote` (another Spark Connect server, which must
see this machine's files) it is only the client's. So it also tells whether a cluster is fit.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import date

from benchmarks.sandbox import environment, platform_home, run_module
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.tables import RESTATEMENTS
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.memory import peak_bytes
from pipeline_platform.orchestration.mart_builds import build_marts, publish_marts
from pipeline_platform.partition_ranges import range_filter
from pipeline_platform.services import Services
from pipeline_platform.settings import Engine, Settings

MODULE = "benchmarks.engines"
MONTHS = [date(2024, 8, 1), date(2024, 9, 1), date(2024, 10, 1)]
DAYS = 60
"""Twenty of each month; the first month is only read, as the month before the built ones."""
ROWS = (100_000, 1_000_000, 5_000_000)
SMALL_ROWS = (6_000, 60_000)
ENGINES: tuple[Engine, ...] = ("duckdb", "spark")

_COLUMNS = {
    "as_of_month": f"DATE '2024-08-01' + to_months((i % {DAYS} // 20)::INT)",
    "as_of_date": f"DATE '2024-08-01' + to_months((i % {DAYS} // 20)::INT)"
    f" + to_days((i % 20 + 8)::INT)",
    "account_id": f"'account ' || (i // {DAYS})",
    "vendor": f"'vendor ' || (i // {DAYS} % 3)",
    "account_class": f"'class ' || (i // {DAYS} % 4)",
    "currency": "'USD'",
    "record_start_date": "DATE '2020-01-01'",
    "is_current": "true",
    "market_value": "1000000 + hash(i) % 100000000",
    "reconciliation_status": "['COMPLETED', 'BREACH', 'PENDING'][(hash(i) % 20 // 9)::INT + 1]",
    "probable_cause": "['fee', 'fx', 'timing'][(hash(i) % 3)::INT + 1]",
}
_BY_TYPE = {
    "VARCHAR": "'text'",
    "BOOLEAN": "hash(i) % 50 = 0",
    "DATE": "DATE '2024-01-01'",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2024-11-01 06:00:00+00'",
}


def write_sources(services: Services, rows: int) -> None:
    """Replace the marts' source tables by generated rows of the last three months."""
    filter_of_all = range_filter("as_of_month", (MONTHS[0], MONTHS[-1]))
    with services.connect() as con:
        for table in MARTS.sources:
            columns = ", ".join(
                f"CAST({_value(column.name, duckdb_type(column))} AS {duckdb_type(column)})"
                f" AS {column.name}"
                for column in table.schema
            )
            count = rows // 100 if table == RESTATEMENTS else rows
            relation = con.sql(f"SELECT {columns} FROM range({count}) r(i)")
            staged = services.lake.stage(table, relation, run_id=f"{rows}", partition="generated")
            services.lake.publish(staged, replace=filter_of_all, properties={})


def _value(column: str, kind: str) -> str:
    if column in _COLUMNS:
        return _COLUMNS[column]
    if kind.startswith("DECIMAL"):
        return "((hash(i) % 20001)::BIGINT - 10000) / 1000000"
    return _BY_TYPE.get(kind, "i")


def build(services: Services, run_id: str) -> float:
    """Build, test and publish every mart; return the seconds."""
    began = time.perf_counter()
    span = (MONTHS[1], MONTHS[-1])
    made = build_marts(services, MARTS, span, {}, run_id)
    publish_marts(services, MARTS, made, span)
    return time.perf_counter() - began


def measure() -> dict[str, object]:
    """Build twice in this process; return seconds, peak memory and a hash of the marts' rows."""
    with Services(Settings.from_env()) as services, services.connect() as con:
        first = build(services, "first")
        cpu = time.process_time()
        again = build(services, "again")
        cpu = time.process_time() - cpu
        peak = (peak_bytes() or 0) / 1e6
        digest = hashlib.sha256()
        for mart in MARTS.tables:
            rows = services.lake.relation(con, mart).order("ALL").fetchall()
            digest.update(repr(rows).encode())
    return {"first": first, "again": again, "cpu": cpu, "peak": peak, "rows": digest.hexdigest()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the engines disagree."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, metavar="N")
    parser.add_argument("--small", action="store_true", help="few rows")
    parser.add_argument("--remote", metavar="sc://HOST:PORT", help="instead of our own Sail")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(measure()))
        return 0
    differing = []
    columns = ("first s", "again s", "CPU s", "M rows/s", "peak MB")
    print(f"{'account-days':>14} {'engine':<8}" + "".join(f"{name:>10}" for name in columns))
    for rows in SMALL_ROWS if given.small else given.rows:
        with platform_home() as settings:
            with Services(settings) as services:
                write_sources(services, rows)
            found = set()
            for engine in ENGINES:
                changes = {"PLATFORM_ENGINE": engine}
                if given.remote and engine == "spark":
                    changes["PLATFORM_SPARK_REMOTE"] = given.remote
                taken = run_module(MODULE, ["--child"], environment(settings, **changes)).answer
                found.add(taken["rows"])
                print(
                    f"{rows:>14,} {engine:<8}{taken['first']:>10.2f}{taken['again']:>10.2f}"
                    f"{taken['cpu']:>10.2f}{rows / taken['again'] / 1e6:>10.2f}"
                    f"{taken['peak']:>10.0f}",
                    flush=True,
                )
            if len(found) > 1:
                differing.append(rows)
    answer = f"DIFFERENT for {differing}" if differing else "the same for every size"
    print(f"\nRows of the four marts on both engines: {answer}.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
