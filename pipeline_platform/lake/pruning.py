"""Which partitions of a table a query would read, from the query's plan alone (SW-26).

Every partition is an empty table of its own with a constant as partition column, as an Iceberg
catalog knows it. Where the query's filter on that column rules a partition out, the optimiser
drops the table, so what is left in the plan is what would be scanned. No row is read.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.engine import sql_name
from pipeline_platform.lake.tables import LakeTable

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pruning:
    """What a model reads of a source, in data files of one snapshot.

    `files_expected` lie in the partitions that the model needs. `strays` are partitions outside
    of these that it would scan; there is one before and one after them even if the table has no
    file there, so that a missing filter shows.
    """

    source: str
    files_present: int
    files_expected: int
    files_scanned: int
    strays: tuple[date, ...]

    @property
    def is_pruned(self) -> bool:
        """Tell whether only what is needed is read."""
        return not self.strays and self.files_scanned <= self.files_expected


def measure_pruning(
    sql: str,
    source: LakeTable,
    files: Mapping[date, int],
    needed: tuple[date, date],
    *,
    others: Sequence[LakeTable] = (),
) -> Pruning:
    """Count the files of `source` that a query reads of those in each partition (`files`).

    `sql` is DuckDB's, and names tables as `<namespace>.<name>`, or, for the marts among `others`,
    by name alone as dbt does. `needed` are the first and last partition that it has to read.
    """
    first, last = needed
    partitions = sorted({*files, first - _ONE_DAY, last + _ONE_DAY})
    scanned = scanned_partitions(sql, source, partitions, others=others)
    return Pruning(
        source=".".join(source.identifier),
        files_present=sum(files.values()),
        files_expected=sum(count for day, count in files.items() if first <= day <= last),
        files_scanned=sum(files.get(day, 0) for day in scanned),
        strays=tuple(sorted(day for day in scanned if not first <= day <= last)),
    )


def scanned_partitions(
    sql: str,
    source: LakeTable,
    partitions: Collection[date],
    *,
    others: Sequence[LakeTable] = (),
) -> set[date]:
    """Return the partitions of `source` that are left in the query's plan."""
    column = str(source.partition_by)
    rest = ", ".join(sql_name(name) for name in source.schema.names if name != column)
    tables = {f"partition_{day:%Y%m%d}": day for day in partitions}
    branches = " UNION ALL ".join(
        f"SELECT DATE '{day}' AS {sql_name(column)}, {rest} FROM {name}"
        for name, day in tables.items()
    )
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        # The tables being empty must rule nothing out: only the partition's value may.
        con.execute("SET disabled_optimizers = 'statistics_propagation'")
        for name in tables:
            con.execute(f"CREATE TABLE {name} ({_columns(source)})")
        for table in (source, *others):
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {table.identifier[0]}")
            content = branches if table is source else f"SELECT * FROM {_empty(table)}"
            if table is not source:
                con.execute(f"CREATE TABLE {_empty(table)} ({_columns(table)})")
            con.execute(f"CREATE VIEW {'.'.join(map(sql_name, table.identifier))} AS {content}")
            con.execute(f"CREATE VIEW {sql_name(table.name)} AS {content}")
        plan = con.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()[0][1]
    names = {name.rpartition(".")[2] for name in _table_names(json.loads(plan))}
    return {day for name, day in tables.items() if name in names}


def _empty(table: LakeTable) -> str:
    return sql_name("empty_" + "_".join(table.identifier))


def _columns(table: LakeTable) -> str:
    return ", ".join(f"{sql_name(column.name)} {duckdb_type(column)}" for column in table.schema)


def _table_names(node: Any) -> Iterator[str]:
    """Yield the names of all tables in a plan."""
    if isinstance(node, list):
        for one in node:
            yield from _table_names(one)
        return
    table = node.get("extra_info", {}).get("Table")
    if isinstance(table, str):
        yield table
    yield from _table_names(node.get("children", []))
