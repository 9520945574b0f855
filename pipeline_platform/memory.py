"""Memory that was freed, given back to the system: a limit counts what a process holds."""

import ctypes
import sys

import pyarrow as pa


def release_memory() -> None:
    """Return what Arrow's pool and the C library keep of freed memory (a few milliseconds)."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
