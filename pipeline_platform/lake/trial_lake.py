"""A lake that is read as if rows had been published that only lie in temporary files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import duckdb

from pipeline_platform.lake import reading
from pipeline_platform.lake.engine import connect, sql_name, sql_text
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.staging import columns_of
from pipeline_platform.lake.tables import LakeTable

Span = tuple[date, date]


class TrialLake(Lake):
    """A lake in which Parquet files stand in for partitions of tables; never written.

    Whatever the settings say, DuckDB is its engine: no cluster reads files of this machine.
    """

    def __init__(self, lake: Lake) -> None:
        """Look at what `lake` holds until `put` or `deliver` says otherwise."""
        super().__init__(lake.settings.model_copy(update={"engine": "duckdb"}), lake._tables)
        self._given: dict[tuple[str, str], list[tuple[Span, tuple[str, ...]]]] = {}
        self._delivered: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def put(self, table: LakeTable, span: Span, paths: Sequence[str]) -> None:
        """Show the files' rows as the table's partitions from first to last of `span`."""
        self._given.setdefault(table.identifier, []).append((span, tuple(paths)))

    def deliver(self, table: LakeTable, hashes: Sequence[str], paths: Sequence[str]) -> None:
        """Show the files' rows in the place of all that came from deliveries of these hashes.

        The table has a column `file_sha256`.
        """
        self._delivered[table.identifier] = (tuple(hashes), tuple(paths))

    def pin(
        self, table: LakeTable, *, months: Span | None = None, snapshot_id: int | None = None
    ) -> reading.Pinned:
        """Return the query that reads the table's snapshot, with the given files in place."""
        pinned = super().pin(table, months=months, snapshot_id=snapshot_id)
        return self._with_partitions(table, self._with_deliveries(table, pinned, months), months)

    def _with_deliveries(
        self, table: LakeTable, pinned: reading.Pinned, months: Span | None
    ) -> reading.Pinned:
        hashes, paths = self._delivered.get(table.identifier, ((), ()))
        if not hashes:
            return pinned
        columns = ", ".join(map(sql_name, table.schema.names))
        query = (
            f"SELECT {columns} FROM ({pinned.query})"
            f" WHERE file_sha256 NOT IN ({', '.join(map(sql_text, hashes))})"
            f" UNION ALL SELECT {columns_of(table)}"
            f" FROM ({reading.select_files(table, paths, mixed=False)})"
            f" WHERE {_inside(table, months)}"
        )
        return replace(pinned, query=query, files=(*pinned.files, *paths))

    def _with_partitions(
        self, table: LakeTable, pinned: reading.Pinned, months: Span | None
    ) -> reading.Pinned:
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
        parts = [f"SELECT {columns} FROM ({pinned.query}) WHERE NOT ({' OR '.join(inside)})"]
        parts += [
            f"SELECT {columns} FROM ({reading.select_files(table, paths, mixed=False)})"
            f" WHERE {_inside(table, months)}"
            for _, paths in given
        ]
        files = (*pinned.files, *(path for _, paths in given for path in paths))
        return replace(pinned, query=" UNION ALL ".join(parts), files=files)

    def partitions(self, table: LakeTable) -> dict[reading.PartitionValue, int]:
        """Return the row count of each partition, with the given files in place."""
        stored = self._after_deliveries(table, super().partitions(table))
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

    def _after_deliveries(
        self, table: LakeTable, stored: dict[reading.PartitionValue, int]
    ) -> dict[reading.PartitionValue, int]:
        hashes, paths = self._delivered.get(table.identifier, ((), ()))
        if not hashes:
            return stored
        by, counts = sql_name(str(table.partition_by)), Counter(stored)
        gone = f"file_sha256 IN ({', '.join(map(sql_text, hashes))})"
        with connect(self.settings) as engine:
            old = engine.sql(super().pin(table).query).filter(gone)
            counts.subtract(dict(old.aggregate(f"{by}, count(*)", by).fetchall()))
            new = engine.sql(reading.select_files(table, paths, mixed=False))
            counts.update(dict(new.aggregate(f"{by}, count(*)", by).fetchall()))
        return dict(+counts)


def _inside(table: LakeTable, months: Span | None) -> str:
    if months is None:
        return "true"
    first, last = months
    return f"{sql_name(str(table.partition_by))} BETWEEN DATE '{first}' AND DATE '{last}'"


def write_rows(table: LakeTable, rows: duckdb.DuckDBPyRelation, path: str) -> str:
    """Write rows, with the table's types, to a file that a trial lake can be given."""
    rows.project(columns_of(table)).write_parquet(path)
    return path
