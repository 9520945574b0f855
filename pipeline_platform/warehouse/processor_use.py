"""How much of the machine's processors a server's processes use, and how long it lasts (SA-15).

Linux keeps each process's processor time in /proc, that of children that have ended included. Each
sample is recorded; what was used between two of them is a load that no peak can hide from.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
_PROCESSES = Path("/proc")
_MINUTE = 60
_KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Load:
    """Which share of all processors was used, in percent, over how many seconds."""

    seconds: float
    used_pct: float


@dataclass(frozen=True)
class Counter:
    """The processor time that a server had used by now, and which start of it counts."""

    server: str
    processor_seconds: float


def processor_time(pid: int) -> Counter | None:
    """Return what a process and its children have used; None if the system doesn't tell.

    `utime + stime + cutime + cstime` of proc(5): its own time and that of children that ended,
    and the same of those that live.
    """
    parent = _stat(pid)
    if parent is None:
        return None
    total = _used(parent)
    for folder in _PROCESSES.iterdir():
        child = _stat(int(folder.name)) if folder.name.isdecimal() else None
        if child is not None and int(child[1]) == pid:
            total += _used(child)
    return Counter(f"{pid}-{parent[19]}", total / os.sysconf("SC_CLK_TCK"))


def record_sample(conn: Connection, counter: Counter, *, now: datetime) -> None:
    """Keep a sample; those of more than a day ago are forgotten."""
    conn.execute("DELETE FROM processor_samples WHERE sampled_at < %s", (now - _KEPT,))
    conn.execute(
        "INSERT INTO processor_samples VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (counter.server, now, counter.processor_seconds),
    )


def loads(conn: Connection, counter: Counter, *, since: datetime, now: datetime) -> list[Load]:
    """Return the loads between the recorded samples of this server within a window."""
    rows = conn.execute(
        "SELECT sampled_at, processor_seconds FROM processor_samples"
        " WHERE server = %s AND sampled_at BETWEEN %s AND %s ORDER BY sampled_at",
        (counter.server, since, now),
    ).fetchall()
    processors = os.cpu_count() or 1
    return [
        Load(seconds, 100 * (used - before) / seconds / processors)
        for (start, before), (end, used) in pairwise(rows)
        if (seconds := (end - start).total_seconds()) > 0
    ]


def sustained_pct(found: Sequence[Load], least: timedelta) -> float | None:
    """Return the highest load that was reached, or exceeded, for `least` in all; None if too short.

    So a peak that is shorter never counts, and five minutes of load count whenever they were. Time
    is rounded to minutes, for samples are some seconds early or late.
    """
    lasted = 0.0
    for load in sorted(found, key=lambda one: -one.used_pct):
        lasted += load.seconds
        if round(lasted / _MINUTE) >= least.total_seconds() / _MINUTE:
            return load.used_pct
    return None


def _used(fields: Sequence[str]) -> int:
    return sum(int(value) for value in fields[11:15])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; the name before may hold anything."""
    try:
        return (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
