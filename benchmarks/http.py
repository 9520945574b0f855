"""The HTTP service under load from another process: latencies, errors, requests per second.

    python -m benchmarks.http [--seconds 20] [--rate 100] [--small]

A platform of its own takes sample files to served months; the service is started as an operator
starts it, with a token. Then two loads, of a mix of all reading endpoints:

*Rated load*: `--rate` requests a second, what one client may make by default
(`PLATFORM_API_REQUESTS_PER_MINUTE`). Each latency counts from the instant at which the request
was due, so that a slow answer also counts for those that waited behind it. Bars: no error, and
99 % answered within 250 ms.

*Most*: as many as 16 connections get answered, by endpoint: with wrk where it is installed, else
with httpx, whose own cost then limits the figure. No bar. An error is a refused or broken
connection, a status of 400 or more, or no answer within 5 s; `/health` is 503 while no daemon
runs, which is its right answer here.
"""

import argparse
import asyncio
import hashlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.sandbox import environment, platform_home, run

BAR_SECONDS = 0.25
RATE = 100
CONNECTIONS = 16
ANSWER_SECONDS = 5.0
TOKEN = "a-token-of-the-benchmark"
PIPELINE = "advisory_performance"
PATHS = ("/health", "/metrics", "/pipelines", f"/pipelines/{PIPELINE}/runs",
         "/quality/reports/latest")  # fmt: skip
PROGRAM = str(Path(sys.executable).with_name("pipeline-platform"))


@dataclass
class Load:
    """What a load came to; latencies in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: int) -> float:
        """Return the latency that `share` % of the answers did not exceed."""
        if len(self.latencies) < 2:
            return float("inf")
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[share - 1]


@contextmanager
def service(variables: dict[str, str]) -> Iterator[str]:
    """Start the service and give its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", str(port)], env=variables, stdout=subprocess.DEVNULL
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    httpx.get(f"{address}/health", timeout=30)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


def fill(variables: dict[str, str]) -> None:
    """Take sample files to served months, by commands."""
    made = ["sample", "generate", "--accounts", "3", "--days", "45", "--no-file-faults"]
    run([PROGRAM, *made], variables, is_json=False)
    run([PROGRAM, "landing", "ingest"], variables, is_json=False)
    run([PROGRAM, "partitions", "process", "--anyway"], variables, is_json=False)


def is_good(path: str, status: int) -> bool:
    """Tell whether an answer is right."""
    return status < 400 or (path == "/health" and status == 503)


async def rated(address: str, rate: int, seconds: float) -> Load:
    """Make `rate` requests a second, whether or not the ones before were answered."""
    load = Load(seconds)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(
        base_url=address, headers=headers, timeout=ANSWER_SECONDS, limits=limits
    ) as client:
        began = time.perf_counter()

        async def one(number: int) -> None:
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            path = PATHS[number % len(PATHS)]
            try:
                answer = await client.get(path)
            except httpx.HTTPError:
                load.errors += 1
                return
            load.latencies.append(time.perf_counter() - due)
            load.errors += not is_good(path, answer.status_code)

        await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
        load.seconds = time.perf_counter() - began
    return load


async def most(address: str, path: str, seconds: float) -> Load:
    """Ask as fast as 16 connections are answered, with httpx."""
    load = Load(seconds)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=address, headers=headers, timeout=ANSWER_SECONDS
    ) as client:
        until = time.perf_counter() + seconds

        async def ask() -> None:
            while time.perf_counter() < until:
                began = time.perf_counter()
                try:
                    answer = await client.get(path)
                except httpx.HTTPError:
                    load.errors += 1
                    continue
                load.latencies.append(time.perf_counter() - began)
                load.errors += not is_good(path, answer.status_code)

        await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return load


def most_by_wrk(address: str, path: str, seconds: float) -> tuple[float, float, int]:
    """Return requests per second, p99 in seconds and errors, as wrk tells them."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency",
               "--timeout", f"{ANSWER_SECONDS:.0f}s",
               "-H", f"Authorization: Bearer {TOKEN}", f"{address}{path}"]  # fmt: skip
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", told))
    latency = re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    p99 = float(latency[1]) * unit[latency[2]] if latency else float("inf")
    broken = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    errors = sum(map(int, broken.groups())) if broken else 0
    if path != "/health":
        errors += int(_found(r"Non-2xx or 3xx responses: (\d+)", told) or 0)
    return rate, p99, errors


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say whether the bars are met."""
    parser = argparse.ArgumentParser(prog="benchmarks.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--small", action="store_true", help="three seconds each")
    given = parser.parse_args(arguments)
    seconds = 3.0 if given.small else given.seconds
    with platform_home() as settings:
        entry = f"benchmark:read:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
        variables = environment(
            settings, PLATFORM_API_TOKENS=entry, PLATFORM_API_REQUESTS_PER_MINUTE="6000000"
        )
        fill(variables)
        with service(variables) as address:
            for path in PATHS:
                httpx.get(address + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
            load = asyncio.run(rated(address, given.rate, seconds))
            print(f"rated load: {given.rate} requests/s for {seconds:g} s, all endpoints mixed")
            p50, p95, p99 = (1000 * load.percentile(share) for share in (50, 95, 99))
            times = f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"
            print(f"  answered {load.per_second:.0f}/s, {times}, {load.errors} errors")
            has_wrk = shutil.which("wrk") is not None
            print(f"most of {CONNECTIONS} connections, by {'wrk' if has_wrk else 'httpx'}")
            for path in PATHS:
                if has_wrk:
                    most_rate, slowest, errors = most_by_wrk(address, path, seconds)
                else:
                    found = asyncio.run(most(address, path, seconds))
                    most_rate, slowest, errors = (
                        found.per_second,
                        found.percentile(99),
                        found.errors,
                    )
                slowest_ms = 1000 * slowest
                print(f"  {path:<42}{most_rate:8.0f}/s  p99 {slowest_ms:6.0f} ms  {errors} errors")
    p99 = load.percentile(99)
    is_met = load.errors == 0 and p99 <= BAR_SECONDS
    print(
        f"bar at the rated load: {load.errors} errors, p99 {1000 * p99:.0f} ms of "
        f"{1000 * BAR_SECONDS:.0f} ms: {'met' if is_met else 'MISSED'} "
        f"(load average {os.getloadavg()[0]:.1f})"
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
