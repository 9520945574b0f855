"""Memory that was freed goes back to the system: a limit counts what a process holds."""

import ctypes
import functools
import sys

import pyarrow as pa

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
ARENAS = 2
MMAP_BYTES = 16 << 20
"""From this size on a block is given back as soon as it is freed. Left alone, the C library raises
the size to 32 MB by itself and keeps the holes (measured: 254 MB instead of 71 MB of growth).
Arrays of one block of returns stay below: fresh pages for each cost half of the time."""
TRIM_BYTES = 128 << 20
"""Freed memory at the end of an arena that is kept for the next block of work."""


@functools.cache
def bound_allocator() -> None:
    """Make the C library (glibc; elsewhere nothing is done) keep little of what was freed."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)


def release_memory() -> None:
    """Return what Arrow's pool and the C library still keep of freed memory (milliseconds)."""
    pa.default_memory_pool().release_unused()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
