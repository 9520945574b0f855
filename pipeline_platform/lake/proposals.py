"""Partitions that are staged for a table: read as if they were published, published in one commit.

A proposal leaves the table alone until `publish_partitions`, which takes the place of exactly the
files that the proposal was compared with, or of none (B-10).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from pipeline_platform.failures import ConflictError
from pipeline_platform.lake import publications, reading
from pipeline_platform.lake.data_files import describe_file
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import span_of
from pipeline_platform.warehouse.proposals import Part

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


class PartitionsChangedError(ConflictError):
    """Partitions were rewritten since a proposal was compared with them; nothing was published."""

    def __init__(self, table: LakeTable, partitions: Sequence[date]) -> None:
        """Name the first of them."""
        self.partitions = tuple(partitions)
        super().__init__(
            f"{len(partitions)} partitions of {table.name} were rewritten since they were "
            f"compared, {partitions[0]} first; nothing was published. Compare them again."
        )


class ProposedLake(Lake):
    """A lake that is read as if staged partitions of one table were published; never written.

    A partition that was rewritten since it was compared is shown as it is published now.
    """

    def __init__(self, lake: Lake, table: LakeTable, parts: Sequence[Part]) -> None:
        """Look at `parts` of `table` in place of what the table holds."""
        super().__init__(lake.settings, lake._tables)
        self._proposed = table
        self._parts = parts

    def pin(
        self,
        table: LakeTable,
        *,
        months: tuple[date, date] | None = None,
        snapshot_id: int | None = None,
    ) -> reading.Pinned:
        """Return the query that reads the table's snapshot, with staged partitions in place."""
        pinned = super().pin(table, months=months, snapshot_id=snapshot_id)
        if table.identifier != self._proposed.identifier:
            return pinned
        inside = [
            part
            for part in self._parts
            if (months is None or months[0] <= part.partition <= months[1])
            and set(part.base_files) <= set(pinned.files)
        ]
        gone = {path for part in inside for path in part.base_files}
        files = [path for path in pinned.files if path not in gone]
        files += [path for part in inside for path in part.staged_files]
        query = reading.select_files(table, files, mixed=True)
        return reading.Pinned(pinned.snapshot_id, query, tuple(files), pinned.row_count)


def publish_partitions(
    lake: Lake,
    table: LakeTable,
    parts: Sequence[Part],
    *,
    run_id: str,
    properties: Mapping[str, str],
) -> Publication:
    """Make all staged partitions visible in one commit; one that was made is not repeated.

    Raises PartitionsChangedError, with nothing published, when a partition does not consist of
    the files any more that it was compared with.
    """
    span = (min(part.partition for part in parts), max(part.partition for part in parts))
    marks = publications.snapshot_properties(run_id, [span_of(span)], properties)
    iceberg = lake.iceberg(table)
    added = [
        describe_file(iceberg, table, path) for part in parts for path in sorted(part.staged_files)
    ]

    def attempt(fresh: "Table") -> Publication:
        earlier = publications.find_publication(fresh, marks)
        if earlier is not None:
            return earlier
        live = _live_files(fresh, table, span)
        changed = [
            part.partition
            for part in parts
            if set(live.get(part.partition, ())) != set(part.base_files)
        ]
        if changed:
            raise PartitionsChangedError(table, changed)
        removed = [file for part in parts for file in live.get(part.partition, {}).values()]
        return publications.commit_files(fresh, removed=removed, added=added, properties=marks)

    return lake.commit(table, attempt, run_id=run_id, first=iceberg)


def _live_files(
    iceberg: "Table", table: LakeTable, span: tuple[date, date]
) -> "Mapping[date, Mapping[str, DataFile]]":
    found: dict[date, dict[str, DataFile]] = defaultdict(dict)
    for file in reading.live_files(iceberg, where={str(table.partition_by): span}):
        value = reading.partition_value(table, file.partition)
        if isinstance(value, date):
            found[value][file.file_path] = file
    return found
