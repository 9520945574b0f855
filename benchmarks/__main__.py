"""Run the benchmarks one after another, each in its own process, and tell which bars are met.

    python -m benchmarks [name ...] [--small] [--json FILE]

Without names all run, except `setup`, which installs everything anew. Exit code 1 if a bar is
missed or a benchmark could not be run. `docs/benchmarks.md` says what each one measures.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Benchmark:
    """A module of this folder, the bar it shows, and its arguments for a small run."""

    name: str
    bar: str
    small: tuple[str, ...] = ()
    is_in_default_run: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a benchmark ended; `verdicts` are the lines in which it spoke of its bar."""

    name: str
    bar: str
    is_met: bool
    seconds: float
    verdicts: tuple[str, ...]
    output: str


BENCHMARKS = (
    Benchmark(
        "returns",
        "returns of 10 million account-days within 2x of the fastest bare engine",
        ("--accounts", "400", "--days", "500"),
    ),
    Benchmark(
        "events",
        "events to silver at 0.7x bare DuckDB, 3x pandas; memory bounded; growth linear",
        ("--small",),
    ),
    Benchmark("load", "performance_data at 0.6x or more of a bare binary COPY", ("50000",)),
    Benchmark("memory", "a file ten times the memory limit is processed under it", ("--small",)),
    Benchmark(
        "overhead",
        "code location loads in under 5 s; a run spends under 3 s outside our own work",
        ("--small",),
    ),
    Benchmark("bots", "100,000 distinct agents judged in 5 s", ("--agents", "5000")),
    Benchmark("landing", "no bar: beside bare obstore and fsspec"),
    Benchmark("ingest", "no bar: beside bare DuckDB; every line accounted for", ("--small",)),
    Benchmark("engines", "no bar: dbt models on DuckDB and on Spark; equal rows", ("--small",)),
    Benchmark("kills", "killed at 200 random points: content equal, every time", ("10",)),
    Benchmark("http", "100 requests/s without an error, 99 % within 250 ms", ("--small",)),
    Benchmark("setup", "two commands on an empty machine", is_in_default_run=False),
)


def run(benchmark: Benchmark, *, is_small: bool) -> Outcome:
    """Run one benchmark in a process of its own and show what it prints while it prints it."""
    print(f"\n== {benchmark.name}: {benchmark.bar}", flush=True)
    module = f"benchmarks.{benchmark.name}"
    if importlib.util.find_spec(module) is None:
        print(f"There is no module {module}.")
        return Outcome(benchmark.name, benchmark.bar, False, 0.0, ("not there",), "")
    command = [sys.executable, "-m", module, *(benchmark.small if is_small else ())]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    lines: list[str] = []
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    verdicts = tuple(line.strip() for line in lines if "bar" in line.lower().split())
    verdicts += tuple(line.strip() for line in lines if line.lower().startswith("bar"))
    return Outcome(
        name=benchmark.name,
        bar=benchmark.bar,
        is_met=process.returncode == 0,
        seconds=time.perf_counter() - began,
        verdicts=tuple(dict.fromkeys(verdicts)),
        output="\n".join(lines),
    )


def show(outcomes: Sequence[Outcome]) -> None:
    """Print one line per benchmark and, below it, its own words on the bar."""
    print(f"\n{'benchmark':<12}{'bar':<80}{'':<8}{'seconds':>8}")
    for one in outcomes:
        print(
            f"{one.name:<12}{one.bar:<80}{'met' if one.is_met else 'MISSED':<8}{one.seconds:8.0f}"
        )
        for verdict in one.verdicts:
            print(f"{'':<12}{' '.join(verdict.split())}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if a bar is missed."""
    names = [one.name for one in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names)}")
    parser.add_argument("--small", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose of {', '.join(names)}")
    chosen = [one for one in BENCHMARKS if one.name in given.names or not given.names]
    chosen = [one for one in chosen if one.is_in_default_run or one.name in given.names]
    load_before = os.getloadavg()
    outcomes = [run(one, is_small=given.small) for one in chosen]
    show(outcomes)
    busy = ", ".join(f"{load:.1f}" for load in load_before)
    print(f"\n{os.cpu_count()} processors; load averages before the first benchmark: {busy}.")
    if given.small:
        print("Small sizes: fixed costs weigh more, so a missed bar may mean nothing.")
    if given.json:
        facts = {
            "measured_at": datetime.now(UTC).isoformat(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load_averages_before": load_before,
            "is_small": given.small,
            "outcomes": [asdict(one) for one in outcomes],
        }
        given.json.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0 if all(one.is_met for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
