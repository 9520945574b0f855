"""Raw NDJSON to published, checked silver events, side by side with DuckDB, Polars and pandas.

    python -m benchmarks.events [--events 1000000] [--small]

Bars (design, section 6): at least 0.7x the speed of the same SQL in bare DuckDB and at least 3x
pandas; a file ten times the memory limit is processed under the limit; time grows along a straight
line or better.

`ours` are the functions that the assets call: claim and hash, parse, write bronze, publish,
archive; then type, deduplicate across days, sessions, bots, score, audit by the contract, ledger,
publish. The bare engines (`event_contenders.py`) get the same files and leave one Parquet file;
counts and sums of what they made must be ours. Every contender has a process of its own, with its
imports done and the rules of agents compiled, as a run has from the fork server.

Growth is measured in processor seconds, which other work on the machine changes least: from a
tenth to ten times the events, and one backfill of 1 to 30 days with the same number of events.
Memory is measured as `benchmarks.memory` does it, with all days in one file.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from benchmarks.event_contenders import CONTENDERS, summary
from benchmarks.event_delivery import Delivery, write_deliveries
from benchmarks.memory import MEGABYTE, PeakMemory, show
from benchmarks.returns import Stopwatch
from benchmarks.sandbox import Finished, environment, platform_home, run_module
from pipeline_platform.memory import peak_bytes
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pipeline_platform.web_events.run_context import RunContext

MODULE = "benchmarks.events"
OURS = "ours"
OF_DUCKDB, OF_PANDAS = 0.7, 3.0
GROWTH_ALLOWED = 1.15
"""Processor seconds an event may cost with ten times the events, in those of the usual number."""
FIRST = date(2026, 10, 1)
DAYS = 5
BACKFILLS = (1, 5, 10, 30)
BYTES_PER_EVENT = 490
BASELINE_EVENTS = 1_000


def process(run: "RunContext", peaks: PeakMemory) -> dict[str, int]:
    """Take the files that wait in `incoming/` to published silver; return what became of them."""
    from pipeline_platform.partition_ranges import dates_in
    from pipeline_platform.web_events.ingestion import ingest_arrivals
    from pipeline_platform.web_events.refinement import refine_days
    from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS

    with peaks.stage("landing to bronze"):
        outcomes = list(ingest_arrivals(run))
    if {one.status for one in outcomes} != {"published"}:
        raise RuntimeError(f"Not every file was published: {outcomes}")
    days = [*dates_in(run.services.lake.partitions(RAW_EVENTS))]
    silver = duplicates = 0
    with peaks.stage("bronze to silver, audited"):
        for piece in refine_days(run, days):
            if piece.objections:
                raise RuntimeError(f"Silver was not published: {piece.objections}")
            silver += piece.counts[WEB_EVENTS.name]
            duplicates += sum(entry.deduplicated for entry in piece.ledger)
    return {
        "bronze": sum(one.published_rows for one in outcomes),
        "quarantined": sum(one.quarantined_rows for one in outcomes),
        "silver": silver,
        "duplicates": duplicates,
    }


def ours(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """Run the whole path in this process, on the platform that the environment names."""
    import pyarrow.parquet
    import pyiceberg.io.pyarrow

    from pipeline_platform.lake import replacement
    from pipeline_platform.services import Services
    from pipeline_platform.web_events import refinement
    from pipeline_platform.web_events.run_context import RunContext
    from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS

    del pyarrow, pyiceberg, replacement
    settings = Settings.from_env()
    incoming = Path(settings.raw_location) / PIPELINE / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for delivery in deliveries:
        os.link(delivery.path, incoming / delivery.path.name)
    refinement.prepare()
    peaks = PeakMemory()
    with Services(settings) as services:
        for table in (RAW_EVENTS, WEB_EVENTS):
            services.lake.ensure(table)
        failure, rows = None, {}
        with Stopwatch() as watch:
            try:
                rows = process(RunContext(services, "events-benchmark"), peaks)
            except Exception as error:
                failure = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        peak = max(stage["peak_bytes"] for stage in peaks.stages.values())
        made = {}
        if failure is None:
            with duckdb.connect() as engine:
                made = summary(services.lake.relation(engine, WEB_EVENTS))
    return _answer(watch, peak, made, rows=rows, failure=failure, stages=peaks.stages)


def bare(name: str, deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """Run a bare engine in this process; what it made is removed."""
    import pandas
    import polars

    from pipeline_platform.services import Services
    from pipeline_platform.web_events import refinement
    from pipeline_platform.web_events.refinement import reading_of
    from pipeline_platform.web_events.run_context import RunContext

    del pandas, polars
    refinement.prepare()
    target = deliveries[0].path.with_suffix(f".{name}.parquet")
    with Services(Settings.from_env()) as services:
        run = RunContext(services, name)
        with Stopwatch() as watch:
            CONTENDERS[name](deliveries, target, reading_of(run))
    peak = peak_bytes() or 0
    with duckdb.connect() as engine:
        made = summary(engine.read_parquet(str(target)))
    target.unlink()
    return _answer(watch, peak, made)


def _answer(watch: Stopwatch, peak: float, made: dict[str, Any], **more: Any) -> dict[str, Any]:
    spent = {"seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds, "peak_bytes": peak}
    return {**spent, "made": made, **more}


def run_child(
    name: str, deliveries: Sequence[Delivery], settings: Settings, repeat: int = 1
) -> Finished:
    """Run one contender in a process of its own, ours on a new platform; the fastest run counts."""
    arguments = ["--child", name, *(str(one.path) for one in deliveries)]
    runs = []
    for _ in range(repeat):
        if name != OURS:
            runs.append(run_module(MODULE, arguments, environment(settings)))
            continue
        with platform_home(memory_limit=settings.memory_limit) as own:
            runs.append(run_module(MODULE, arguments, environment(own)))
            if runs[-1].answer["failure"]:
                return runs[-1]
    return min(runs, key=lambda one: float(one.answer["seconds"]))


def compare(settings: Settings, *, events: int, repeat: int) -> tuple[bool, Finished]:
    """Print all contenders on the same files; return whether bars are met and results equal."""
    with tempfile.TemporaryDirectory(prefix="events-") as folder:
        deliveries = write_deliveries(Path(folder), events=events, days=DAYS, first=FIRST)
        size = sum(one.size for one in deliveries)
        found = {
            name: run_child(name, deliveries, settings, repeat) for name in (OURS, *CONTENDERS)
        }
    print(f"{events:,} events of {size / events:.0f} bytes in {len(deliveries)} files, 2 threads")
    heads = ("seconds", "CPU s", "events/s", "peak MB", "ours/it", "by CPU")
    print(f"{'':<14}" + "".join(f"{head:>11}" for head in heads))
    mine = found[OURS].answer
    speed = {}
    for name, finished in found.items():
        answer = finished.answer
        speed[name] = answer["seconds"] / mine["seconds"]
        cells = (
            f"{answer['seconds']:.2f}",
            f"{answer['cpu_seconds']:.2f}",
            f"{events / answer['seconds']:,.0f}",
            f"{answer['peak_bytes'] / MEGABYTE:,.0f}",
            f"{speed[name]:.2f}x",
            f"{answer['cpu_seconds'] / mine['cpu_seconds']:.2f}x",
        )
        print(f"{name:<14}" + "".join(f"{cell:>11}" for cell in cells))
    if mine["failure"]:
        print(f"Ours failed: {mine['failure']}")
        return False, found[OURS]
    rows = mine["rows"]
    print(
        f"ours: {rows['bronze']:,} to bronze, {rows['quarantined']:,} quarantined, "
        f"{rows['duplicates']:,} duplicates, {rows['silver']:,} events in silver"
    )
    differences = {
        f"{name}: {key} {found[name].answer['made'][key]} instead of {value}"
        for name in CONTENDERS
        for key, value in mine["made"].items()
        if found[name].answer["made"][key] != value
    }
    print(f"Results are equal: {'yes' if not differences else '; '.join(sorted(differences))}.")
    is_conserved = rows["silver"] + rows["duplicates"] == rows["bronze"]
    is_conserved &= rows["bronze"] + rows["quarantined"] == events
    print(f"Every line is accounted for: {'yes' if is_conserved else 'NO'}.")
    met = [
        bar(f"at least {OF_DUCKDB}x bare DuckDB", speed["bare_duckdb"], OF_DUCKDB),
        bar(f"at least {OF_PANDAS:g}x pandas", speed["bare_pandas"], OF_PANDAS),
    ]
    return all(met) and not differences and is_conserved, found[OURS]


def bar(words: str, measured: float, least: float) -> bool:
    """Print whether a speed is at least what it must be."""
    is_met = measured >= least
    print(f"Bar ({words}): {'met' if is_met else 'missed'}, {measured:.2f}x.")
    return is_met


def growth(settings: Settings, sizes: Sequence[int], usual: int) -> bool:
    """Print what an event costs in more and more events; False if it rises beyond the allowed."""
    costs = {}
    print(
        f"{'events':>12}{'seconds':>11}{'CPU s':>11}{'s/million':>11}{'CPU/million':>13}{'MB':>8}"
    )
    for events in sizes:
        with tempfile.TemporaryDirectory(prefix="events-") as folder:
            deliveries = write_deliveries(Path(folder), events=events, days=DAYS, first=FIRST)
            answer = run_child(OURS, deliveries, settings).answer
        millions = events / 1e6
        costs[events] = answer["cpu_seconds"] / millions
        print(
            f"{events:>12,}{answer['seconds']:>12.2f}{answer['cpu_seconds']:>12.2f}"
            f"{answer['seconds'] / millions:>12.2f}{costs[events]:>12.2f}"
            f"{answer['peak_bytes'] / MEGABYTE:>12,.0f}"
        )
    most = costs[max(sizes)] / costs[usual]
    is_met = most <= GROWTH_ALLOWED
    print(
        f"Bar (an event of {max(sizes):,} costs at most {GROWTH_ALLOWED:g}x one of {usual:,}): "
        f"{'met' if is_met else 'missed'}, {most:.2f}x."
    )
    return is_met


def backfills(settings: Settings, events: int, days: Sequence[int]) -> None:
    """Print what one backfill costs when the same events lie in more and more days."""
    print(f"{'days':>12}{'seconds':>11}{'CPU s':>11}{'silver s':>11}{'MB':>8}")
    for count in days:
        with tempfile.TemporaryDirectory(prefix="events-") as folder:
            deliveries = write_deliveries(Path(folder), events=events, days=count, first=FIRST)
            answer = run_child(OURS, deliveries, settings).answer
        silver = answer["stages"]["bronze to silver, audited"]["seconds"]
        print(
            f"{count:>12}{answer['seconds']:>11.2f}{answer['cpu_seconds']:>11.2f}{silver:>11.2f}"
            f"{answer['peak_bytes'] / MEGABYTE:>8,.0f}"
        )


def memory(limit: str, times: float) -> bool:
    """Print how memory grows with one file of so many limits; False if beyond the limit."""
    megabytes = float(limit.removesuffix("MB"))
    settings = Settings(home=Path(tempfile.gettempdir()), memory_limit=limit)
    found, size = [], 0
    for events in (BASELINE_EVENTS, round(megabytes * times * MEGABYTE / BYTES_PER_EVENT)):
        with tempfile.TemporaryDirectory(prefix="events-") as folder:
            deliveries = write_deliveries(
                Path(folder), events=events, days=DAYS, first=FIRST, is_one_file=True
            )
            size = deliveries[0].size
            found.append(run_child(OURS, deliveries, settings))
    over = show(megabytes, size, *found)
    words = f"MISSED in {', '.join(over)}" if over else "met"
    print(f"Bar, growth of every stage within {megabytes:,.0f} MB, file {times:g} x that: {words}.")
    return not over


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a bar is missed, results differ or a line got lost."""
    parser = argparse.ArgumentParser(prog="benchmarks.events", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--limit", default="128MB", help="memory limit of the file beyond it")
    parser.add_argument("--times", type=float, default=10, help="size of that file in limits")
    parser.add_argument("--only", choices=("speed", "growth", "days", "memory"))
    parser.add_argument("--small", action="store_true", help="a twentieth of the events")
    parser.add_argument("--child", choices=(OURS, *CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        return _as_child(given.child, given.files)
    events = given.events // 20 if given.small else given.events
    settings = Settings(home=Path(tempfile.gettempdir()))
    met = []
    if given.only in (None, "speed"):
        met.append(compare(settings, events=events, repeat=given.repeat)[0])
    if given.only in (None, "growth"):
        met.append(growth(settings, (events // 10, events, events * 10), events))
    if given.only in (None, "days"):
        backfills(settings, events, BACKFILLS[:2] if given.small else BACKFILLS)
    if given.only in (None, "memory"):
        met.append(memory(given.limit, 0.5 if given.small else given.times))
    return 0 if all(met) else 1


def _as_child(name: str, paths: Sequence[Path]) -> int:
    deliveries = [Delivery(one, datetime.fromtimestamp(one.stat().st_mtime, UTC)) for one in paths]
    answer = ours(deliveries) if name == OURS else bare(name, deliveries)
    print(json.dumps(answer, default=str), flush=True)
    if answer.get("failure"):
        # Out of memory, DuckDB's threads still hold the reader of the file; see memory.py.
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
