"""A lake that is read as if rows had been published that only lie in temporary files."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import duckdb

from pipeline_platform.lake import reading
from pipeline_platform.lake.engine import connect, sql_name
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.staging import columns_of
from pipeline_platform.lake.tables import LakeTable

Span = tuple[date, date]


class TrialLake(Lake):
    """A lake in which Parquet files stand in for partitions of tables; never written."""

    def __init__(self, lake: Lake) -> None:
        """Look at what `lake` holds until `put` says otherwise."""
        super().__init__(lake.settings, lake._tables)
        self._given: dict[tuple[str, str], list[tuple[Span, tuple[str, ...]]]] = {}

    def put(self, table: LakeTable, span: Span, paths: Sequence[str]) -> None:
        """Show the files' rows as the table's partitions from first to last of `span`."""
        self._given.setdefault(table.identifier, []).append((span, tuple(paths)))

    def pin(
        self, table: LakeTable, *, months: Span | None = None, snapshot_id: int | None = None
    ) -> reading.Pinned:
        """Return the query that reads the table's snapshot, with the given files in place."""
        pinned = super().pin(table, months=months, snapshot_id=snapshot_id)
        given = [
            (span, paths)
            for span, paths in self._given.get(table.identifier, ())
            if months is None or (span[0] <= months[1] and months[0] <= span[1])
        ]
        if not given:
            return pinned
        by = sql_name(str(table.partition_by))
        columns = ", ".join(map(sql_name, table.schema.names))
        inside = [f"{by} BETWEEN DATE '{first}' AND DATE '{last}'" for (first, last), _ in given]
        shown = f"{by} BETWEEN DATE '{months[0]}' AND DATE '{months[1]}'" if months else "true"
        parts = [f"SELECT {columns} FROM ({pinned.query}) WHERE NOT ({' OR '.join(inside)})"]
        parts += [
            f"SELECT {columns} FROM ({reading.select_files(table, paths, mixed=False)})"
            f" WHERE {shown}"
            for _, paths in given
        ]
        files = (*pinned.files, *(path for _, paths in given for path in paths))
        return replace(pinned, query=" UNION ALL ".join(parts), files=files)

    def partitions(self, table: LakeTable) -> dict[reading.PartitionValue, int]:
        """Return the row count of each partition, with the given files in place."""
        stored = super().partitions(table)
        given = self._given.get(table.identifier, [])
        if not given:
            return stored
        by = sql_name(str(table.partition_by))
        paths = [path for _, given_paths in given for path in given_paths]
        with connect(self.settings) as engine:
            rows = engine.sql(reading.select_files(table, paths, mixed=False))
            counted = dict(rows.aggregate(f"{by}, count(*)", by).fetchall())
        kept = {
            key: count
            for key, count in stored.items()
            if not any(isinstance(key, date) and first <= key <= last for (first, last), _ in given)
        }
        return kept | counted


def write_rows(table: LakeTable, rows: duckdb.DuckDBPyRelation, path: str) -> str:
    """Write rows, with the table's types, to a file that a trial lake can be given."""
    rows.project(columns_of(table)).write_parquet(path)
    return path
