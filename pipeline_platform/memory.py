"""Memory that was freed goes back to the system, and the most that a process held at once."""

import ctypes
import functools
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
ARENAS = 2
LARGEST_MMAP_BYTES = 32 << 20
"""The C library allows no more."""


@functools.cache
def bound_allocator(memory_bytes: int) -> None:
    """Make Arrow and the C library keep little of what was freed (of C libraries only glibc).

    Left alone glibc keeps the holes of everything below 32 MB (measured: 254 MB instead of 71 MB
    of growth), and Arrow's own pools keep parts for each thread (13 to 26 MB), so Arrow takes its
    memory from the C library. But pages that are given back and asked for again with every block
    of work cost half of the time, so a part of what the process is allowed to take may be kept.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, min(memory_bytes // 64, LARGEST_MMAP_BYTES))
        libc.mallopt(_M_TRIM_THRESHOLD, memory_bytes // 32)


def release_memory() -> None:
    """Return what Arrow's pool and the C library still keep of freed memory (milliseconds)."""
    pa.default_memory_pool().release_unused()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def begin_peak() -> None:
    """Count the most memory from now on; where that is not allowed, from the process's start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int | None:
    """Return the highest resident memory of this process since `begin_peak`; None where unknown.

    Not `ru_maxrss`: a child inherits its parent's there.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
