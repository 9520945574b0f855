"""Marts: gold tables that dbt builds for a range of partitions, and which partitions that touches.

A mart need not be partitioned as what it reads: one by week is built anew for each week of which
the range has a day, from all days of these weeks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeAlias

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import range_filter

Range: TypeAlias = tuple[date, date]
"""First and last partition, both included."""


def same_range(first: date, last: date) -> Range:
    """Return the range itself: a mart that is cut as its sources are."""
    return first, last


@dataclass(frozen=True)
class Mart:
    """A gold table made by the dbt model of its name.

    For a range of the pipeline's partitions, `builds` gives the mart's own partitions that are
    replaced, and `reads` the sources' partitions that the model needs for it.
    """

    table: LakeTable
    builds: Callable[[date, date], Range] = same_range
    reads: Callable[[date, date], Range] = same_range

    @property
    def name(self) -> str:
        """The table's and the model's name."""
        return self.table.name

    def replaced(self, first: date, last: date) -> str:
        """Return the lake's filter of the rows that building a range replaces."""
        return range_filter(str(self.table.partition_by), self.builds(first, last))


@dataclass(frozen=True)
class MartGroup:
    """The marts of one pipeline, built together, and every table that they read.

    `rows_per_megabyte` is how many rows of the first source one build may have per megabyte of the
    memory limit: more are built in pieces. `slices` cuts the rows of a range by SQL conditions:
    models that say `is_in_slice()` are written slice by slice on DuckDB. `variables` are what the
    models ask dbt for, besides the range. `are_last` says that no
    layer comes after them: a request for partitions is answered only when all of the marts were
    published.
    """

    pipeline: str
    sources: Sequence[LakeTable]
    marts: Sequence[Mart]
    rows_per_megabyte: int
    slices: Callable[[Lake, Range], Sequence[str]] | None = None
    variables: Callable[[], Mapping[str, Any]] = dict
    are_last: bool = False

    @property
    def tables(self) -> tuple[LakeTable, ...]:
        """The marts' tables."""
        return tuple(mart.table for mart in self.marts)

    def read_range(self, first: date, last: date) -> Range:
        """Return the sources' partitions that any mart needs for a range."""
        ranges = [mart.reads(first, last) for mart in self.marts]
        return min(one for one, _ in ranges), max(one for _, one in ranges)

    def only(self, names: Collection[str]) -> "MartGroup":
        """Return the group of some marts; NotFoundError for a name that is none."""
        unknown = sorted(set(names) - {mart.name for mart in self.marts})
        if unknown:
            raise NotFoundError(
                f"{self.pipeline} has no mart {unknown[0]!r}; choose from "
                f"{', '.join(mart.name for mart in self.marts)}."
            )
        chosen = tuple(mart for mart in self.marts if mart.name in names)
        are_last = self.are_last and len(chosen) == len(self.marts)
        return replace(self, marts=chosen, are_last=are_last)
