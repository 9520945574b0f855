"""Dates that partitions are named by: months and days as values, ranges, and pieces of a range.

A partition is named by its first day: a month `2026-10-01`, a day by itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

from pipeline_platform.lake.reading import PartitionValue

Unit = Literal["month", "day"]
ONE_DAY = timedelta(days=1)


def month_of(day: date) -> date:
    """Return the first day of the month of `day`."""
    return day.replace(day=1)


def shifted(month: date, count: int) -> date:
    """Return the month that lies `count` months after (or before) `month`."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


def following(partition: date, unit: Unit) -> date:
    """Return the month or day after one."""
    return shifted(partition, 1) if unit == "month" else partition + ONE_DAY


def month_range(first: date, last: date) -> list[date]:
    """Return every month from first to last, both included."""
    months = []
    month = month_of(first)
    while month <= last:
        months.append(month)
        month = shifted(month, 1)
    return months


def day_range(first: date, last: date) -> list[date]:
    """Return every day from first to last, both included."""
    return [first + timedelta(days=count) for count in range((last - first).days + 1)]


def date_range(unit: Unit, first: date, last: date) -> list[date]:
    """Return every month or day from first to last, both included."""
    return month_range(first, last) if unit == "month" else day_range(first, last)


def partition_key(partition: date) -> str:
    """Return Dagster's key of a partition: `2026-10-01`."""
    return partition.isoformat()


def span_of(partitions: Sequence[date]) -> str:
    """Return the name of consecutive partitions: one key, or the first and the last."""
    first, last = partition_key(partitions[0]), partition_key(partitions[-1])
    return first if first == last else f"{first}_{last}"


def range_filter(column: str, partitions: Sequence[date]) -> str:
    """Return the lake's row filter that names exactly these consecutive partitions."""
    first, last = partitions[0], partitions[-1]
    if first == last:
        return f"{column} == '{first}'"
    return f"{column} >= '{first}' and {column} <= '{last}'"


def dates_in(partitions: Mapping[PartitionValue, int]) -> dict[date, int]:
    """Return the row count of each partition of a table partitioned by a date, oldest first."""
    dates = {value: count for value, count in partitions.items() if isinstance(value, date)}
    return dict(sorted(dates.items()))


def stretches(days: Iterable[date], unit: Unit = "day") -> list[list[date]]:
    """Return days or months, sorted and without doubles, cut where the next one is missing."""
    found: list[list[date]] = []
    for day in sorted(set(days)):
        if found and day == following(found[-1][-1], unit):
            found[-1].append(day)
        else:
            found.append([day])
    return found


def rows_within(memory_limit: str, rows_per_megabyte: int) -> int:
    """Return how many rows fit under a memory limit such as 512MB or 2GB."""
    megabytes = int(memory_limit[:-2]) * (1000 if memory_limit.endswith("GB") else 1)
    return megabytes * rows_per_megabyte


def pieces(
    partitions: Sequence[date], rows: Mapping[date, int], limit: int
) -> Iterator[list[date]]:
    """Cut consecutive partitions into runs of at most `limit` rows, at least one each."""
    piece: list[date] = []
    size = 0
    for partition in partitions:
        count = rows.get(partition, 0)
        if piece and size + count > limit:
            yield piece
            piece, size = [], 0
        piece.append(partition)
        size += count
    if piece:
        yield piece
