"""What is in a backup, judged without restoring it: columns and contracts, read from its own files.

`verification` asks whether a backup is what it was; this asks whether that was good (SP-55).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from pipeline_platform.lake.backup import Backup
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.engine import connect, sql_text
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.pipeline_folders import contract_files
from pipeline_platform.progress import tracked
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.validation import validate
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.settings import Settings


@dataclass(frozen=True)
class SavedTable:
    """A saved table: its name (`pipeline/layer/noun`), Parquet files, and how many rows it has."""

    name: str
    paths: tuple[str, ...]
    row_count: int


@dataclass(frozen=True)
class Judged:
    """How many tables and rows were read, how many rules judged, and what is wrong."""

    tables: int
    rows: int
    rules: int
    faults: tuple[str, ...]


def saved_tables(sets: BackupSets, backup: PlatformBackup) -> Iterator[SavedTable]:
    """Yield the lake's tables of a backup of the platform."""
    for part in backup.lake.tables if backup.lake else ():
        namespace, noun = part.identifier
        pipeline, _, layer = namespace.rpartition("_")
        paths = tuple(f"{sets.store.location}/{one.key}" for one in sets.export(part).data_files)
        yield SavedTable(f"{pipeline}/{layer}/{noun}", paths, part.row_count)


def saved_table(backup: Backup) -> SavedTable:
    """Return the table of a copy of one table."""
    paths = tuple(f"{backup.location}/{one.key}" for one in backup.files)
    return SavedTable("/".join(backup.table), paths, backup.row_count)


def judge_contents(
    settings: Settings,
    tables: Sequence[SavedTable],
    declared: Mapping[str, LakeTable],
    now: datetime,
) -> Judged:
    """Read tables where they are saved: rows, columns as `declared` by name, critical rules."""
    contracts = {one.asset: one for one in map(Contract.load, contract_files())}
    rows, rules, faults = 0, 0, list[str]()
    for table in tracked(tables, "tables"):
        if not table.paths:
            continue
        try:
            with connect(settings) as engine:
                listed = ", ".join(map(sql_text, table.paths))
                found = engine.sql(
                    f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false,"
                    " union_by_name = true)"
                )
                (count,) = found.aggregate("count(*)").fetchone() or (0,)
                rows += count
                if count != table.row_count:
                    faults.append(f"{table.name} has {count} rows, not {table.row_count}")
                if table.name in declared:
                    faults += _other_columns(found, declared[table.name])
                contract = contracts.get(table.name)
                for one in validate(contract, found, now=now) if contract else ():
                    rules += 1
                    if not one.passed and one.severity == "critical":
                        faults.append(f"{table.name} breaks {one.rule} ({one.observed})")
        except duckdb.Error as error:
            faults.append(f"{table.name} can't be read: {str(error).splitlines()[0]}")
    return Judged(len(tables), rows, rules, tuple(faults))


def _other_columns(found: duckdb.DuckDBPyRelation, table: LakeTable) -> Iterator[str]:
    """Say in which columns saved rows differ from what their table declares."""
    name = "/".join(table.asset_key)
    present = dict(zip(found.columns, map(str, found.types), strict=True))
    for column in table.schema:
        kind = present.pop(column.name, None)
        if kind is None and not column.nullable:
            yield f"{name} lacks the column {column.name}"
        elif kind is not None and kind != duckdb_type(column):
            yield f"{name} has {column.name} as {kind}, not {duckdb_type(column)}"
    yield from (f"{name} has the column {one}, which nobody declares" for one in present)
