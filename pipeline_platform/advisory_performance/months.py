"""How many months a piece of a range may hold."""

from pipeline_platform import partition_ranges

ROWS_PER_MEGABYTE = 700
"""How many account-days a piece of a backfill may hold per megabyte of the memory limit."""


def rows_within(memory_limit: str) -> int:
    """Return how many account-days fit under a memory limit such as 512MB or 2GB."""
    return partition_ranges.rows_within(memory_limit, ROWS_PER_MEGABYTE)
