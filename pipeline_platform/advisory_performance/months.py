"""Months as values: first days, ranges, and pieces of a range that fit into memory."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from pipeline_platform.lake.reading import PartitionValue

ROWS_PER_MEGABYTE = 700
"""How many account-days a piece of a backfill may hold per megabyte of the memory limit."""


def month_of(day: date) -> date:
    """Return the first day of the month of `day`."""
    return day.replace(day=1)


def shifted(month: date, count: int) -> date:
    """Return the month that lies `count` months after (or before) `month`."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


def month_range(first: date, last: date) -> list[date]:
    """Return every month from first to last, both included."""
    months = []
    month = month_of(first)
    while month <= last:
        months.append(month)
        month = shifted(month, 1)
    return months


def partition_key(month: date) -> str:
    """Return Dagster's key of a month: `2026-10-01`."""
    return month.isoformat()


def months_in(partitions: Mapping[PartitionValue, int]) -> dict[date, int]:
    """Return the row count of each month of a table partitioned by month, oldest first."""
    months = {month: count for month, count in partitions.items() if isinstance(month, date)}
    return dict(sorted(months.items()))


def rows_within(memory_limit: str) -> int:
    """Return how many account-days fit under a memory limit such as 512MB or 2GB."""
    megabytes = int(memory_limit[:-2]) * (1000 if memory_limit.endswith("GB") else 1)
    return megabytes * ROWS_PER_MEGABYTE


def pieces(months: Sequence[date], rows: Mapping[date, int], limit: int) -> Iterator[list[date]]:
    """Cut consecutive months into runs of at most `limit` rows, at least one month each."""
    piece: list[date] = []
    size = 0
    for month in months:
        count = rows.get(month, 0)
        if piece and size + count > limit:
            yield piece
            piece, size = [], 0
        piece.append(month)
        size += count
    if piece:
        yield piece
