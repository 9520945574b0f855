"""Vendor files to bronze and to silver, rows a second, beside bare DuckDB on the same file.

    python -m benchmarks.ingest [--lines 400000] [--small]

Each vendor delivers one file of about as many lines, in its own layout, made from the sample
accounts; the standard vendor's is also read by a bare DuckDB with `read_csv` and written as one
Parquet file, without provenance, judging, audit or commit. *Bronze* is all that happens to a file
between `incoming/` and `archive/`: claim and hash, parse, stage, publish, record, archive.
*Silver* is typing, judging, versioning, audit and publication of all its months. Every vendor has
a process and a platform of its own. There is no bar in the design for these hops: the exit code is
1 only if a line got lost.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.sandbox import environment, platform_home, run_module
from pipeline_platform.settings import Settings

MODULE = "benchmarks.ingest"
VENDORS = ("standard", "northgate", "meridian", "harbor")
END = date(2026, 10, 30)
BUSINESS_DAYS = 120
TEMPLATE_ACCOUNTS = 20


def write_file(vendor: str, lines: int, folder: Path) -> tuple[Path, int]:
    """Write one file of a vendor with about so many records; return it and its record count.

    The sample's accounts are repeated under other names, because rendering what differs only in
    its name is much faster than living through it.
    """
    from dataclasses import replace

    from pipeline_platform.advisory_performance.run_context import shipped_mappings
    from pipeline_platform.advisory_performance.samples.accounts import STYLES, account_days
    from pipeline_platform.advisory_performance.samples.arrivals import file_name
    from pipeline_platform.advisory_performance.samples.market import market_until
    from pipeline_platform.advisory_performance.samples.vendor_files import records_of, render

    [style] = [one for one in STYLES if one.vendor == vendor]
    mapping = shipped_mappings()[vendor]
    market = market_until(END, BUSINESS_DAYS)
    lived = [[*account_days(style, number, market, 2026)] for number in range(TEMPLATE_ACCOUNTS)]
    records: list[dict[str, object]] = []
    number = 0
    while len(records) < lines:
        account_id = style.account_format.format(number + 1)
        for day in lived[number % TEMPLATE_ACCOUNTS]:
            records.extend(records_of(replace(day, account_id=account_id), mapping))
        number += 1
    path = folder / file_name(style, END)
    path.write_bytes(render(records, mapping, decimals=style.decimals, day=END))
    return path, len(records)


def measure(vendor: str, lines: int) -> dict[str, object]:
    """Take one vendor's file to silver in this process."""
    from pipeline_platform.advisory_performance import refinement
    from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
    from pipeline_platform.advisory_performance.months import rows_within
    from pipeline_platform.advisory_performance.run_context import RunContext
    from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
    from pipeline_platform.partition_ranges import dates_in, pieces
    from pipeline_platform.services import Services

    settings = Settings.from_env()
    path, written = write_file(vendor, lines, settings.home)
    bare_seconds = _bare(path) if vendor == "standard" else None
    with Services(settings) as services:
        run = RunContext(services, f"ingest-{vendor}")
        services.lake.ensure(VENDOR_ROWS)
        services.landing(PIPELINE).put(path.name, path)
        began = time.perf_counter()
        [outcome] = ingest_arrivals(run)
        bronze_seconds = time.perf_counter() - began
        rows = dates_in(services.lake.partitions(VENDOR_ROWS))
        began = time.perf_counter()
        silver_rows = rejected = 0
        for piece in pieces([*rows], rows, rows_within(run.services.settings.memory_limit)):
            staged = refinement.stage_months(run, piece)
            refinement.publish_months(run, staged)
            silver_rows += sum(staged.counts.values())
            rejected += len(staged.rejected)
        silver_seconds = time.perf_counter() - began
    return {
        "lines": written,
        "megabytes": path.stat().st_size / 1e6,
        "bronze": outcome.published_rows,
        "quarantined": outcome.quarantined_rows,
        "bronze_seconds": bronze_seconds,
        "silver": silver_rows,
        "rejected": rejected,
        "silver_seconds": silver_seconds,
        "bare_seconds": bare_seconds,
    }


def _bare(path: Path) -> float:
    """Read a CSV with types found by DuckDB and write it as Parquet; return the seconds."""
    import duckdb

    began = time.perf_counter()
    with duckdb.connect(config={"threads": "2"}) as engine:
        target = path.with_suffix(".parquet")
        engine.execute(f"COPY (FROM read_csv('{path}')) TO '{target}' (COMPRESSION zstd)")
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a line is neither published nor quarantined."""
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__)
    parser.add_argument("--lines", type=int, default=400_000, help="lines of each vendor's file")
    parser.add_argument("--small", action="store_true", help="20,000 lines")
    parser.add_argument("--child", choices=VENDORS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    lines = 20_000 if given.small else given.lines
    if given.child:
        print(json.dumps(measure(given.child, lines)))
        return 0
    print(f"{'':<26}{'lines':>11}{'MB':>8}{'s':>8}{'lines/s':>11}{'MB/s':>8}{'vs bare':>9}")
    is_conserved, bare = True, 0.0
    for vendor in VENDORS:
        with platform_home() as settings:
            arguments = ["--child", vendor, "--lines", str(lines)]
            found = run_module(MODULE, arguments, environment(settings)).answer
        is_conserved &= found["lines"] == found["bronze"] + found["quarantined"]
        hops = [("bronze", found["bronze_seconds"]), ("bronze to silver", found["silver_seconds"])]
        if found["bare_seconds"]:
            bare = found["bare_seconds"] / found["lines"]
            hops.insert(0, ("bare DuckDB", found["bare_seconds"]))
        for hop, seconds in hops:
            ratio = bare / (seconds / found["lines"])
            print(
                f"{vendor + ', ' + hop:<26}{found['lines']:>11,}{found['megabytes']:>8.1f}"
                f"{seconds:>8.2f}{found['lines'] / seconds:>11,.0f}"
                f"{found['megabytes'] / seconds:>8.1f}{ratio:>8.2f}x"
            )
        print(
            f"  {found['bronze']:,} to bronze, {found['quarantined']:,} quarantined there; "
            f"{found['silver']:,} silver rows, {found['rejected']:,} records quarantined"
        )
    print(f"Every line is accounted for: {'yes' if is_conserved else 'NO'}.")
    return 0 if is_conserved else 1


if __name__ == "__main__":
    sys.exit(main())
