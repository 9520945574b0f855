"""What something bad touched downstream: partitions, accounts, and who reads them (SA-68)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import duckdb

from pipeline_platform.lake.engine import sql_text
from pipeline_platform.lake.lineage import commits_to
from pipeline_platform.lake.reading import select_files
from pipeline_platform.lake.reversion import ALL, Reversion, files_of
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import Connection

AssetKey: TypeAlias = tuple[str, ...]
SUBJECTS = ("account_id", "visitor_id")
"""Columns that say whom a row is about; of a table, the first that it has."""


@dataclass(frozen=True)
class Start:
    """Where the damage begins: partitions of a table, and since when they hold it.

    `since` is None for what may always have been there.
    """

    table: LakeTable
    partitions: frozenset[str]
    since: datetime | None


@dataclass(frozen=True)
class Touched:
    """An asset made from what is bad; `built` are the partitions that were published since.

    Both are empty of an asset that is not partitioned. `runs` published them.
    """

    asset: AssetKey
    affected: tuple[str, ...]
    built: tuple[str, ...]
    runs: tuple[str, ...]


def touched_by(
    services: Services,
    starts: Sequence[Start],
    tables: Sequence[LakeTable],
    downstream: Callable[[AssetKey, Collection[str]], Mapping[AssetKey, Collection[str]]],
) -> list[Touched]:
    """Return every asset that is made from the starts, in no certain order.

    Of a table of the lake it is known which partitions were published since; of any other asset
    (served rows) all are given as affected only.
    """
    by_asset: dict[AssetKey, set[str]] = {}
    since: dict[AssetKey, datetime | None] = {}
    for start in starts:
        for asset, keys in downstream(start.table.asset_key, start.partitions).items():
            by_asset.setdefault(asset, set()).update(keys)
            known = since.get(asset, start.since)
            both = [one for one in (known, start.since) if one is not None]
            since[asset] = min(both) if len(both) == 2 else None
    known_tables: dict[AssetKey, LakeTable] = {one.asset_key: one for one in tables}
    found = []
    for asset, keys in by_asset.items():
        table = known_tables.get(asset)
        runs: dict[str, None] = {}
        built: set[str] = set()
        for commit in commits_to(services.lake, table, since=since[asset]) if table else ():
            own = {str(value or ALL) for value in commit.changes} & keys
            built |= own
            if own:
                runs[commit.run_id] = None
        found.append(Touched(asset, tuple(sorted(keys)), tuple(sorted(built)), tuple(runs)))
    return found


def subjects_of_files(
    services: Services, tables: Sequence[LakeTable], sha256s: Collection[str]
) -> set[str]:
    """Return whom the rows of files are about, from every table that names file and subject."""
    if not sha256s:
        return set()
    condition = f"file_sha256 IN ({', '.join(map(sql_text, sorted(sha256s)))})"
    found: set[str] = set()
    with services.connect() as engine:
        for table in tables:
            if "file_sha256" in table.schema.names:
                found |= _subjects(engine, services, table, condition)
    return found


def subjects_of_partitions(
    services: Services, table: LakeTable, partitions: Collection[str]
) -> set[str]:
    """Return whom the rows of a table's partitions are about."""
    if not partitions or table.partition_by is None:
        return set()
    names = ", ".join(f"DATE '{key}'" for key in sorted(partitions))
    with services.connect() as engine:
        return _subjects(engine, services, table, f"{table.partition_by} IN ({names})")


def subjects_changed(services: Services, reversion: Reversion) -> set[str]:
    """Return whom the rows are about that a run changed in a table."""
    column = _subject(reversion.table)
    if column is None:
        return set()
    now, then = (
        f"({select_files(reversion.table, paths, mixed=True)})"
        for paths in files_of(services.lake, reversion)
    )
    with services.connect() as engine:
        found = engine.sql(
            f"SELECT DISTINCT {column} FROM ((FROM {now} EXCEPT ALL FROM {then})"
            f" UNION ALL (FROM {then} EXCEPT ALL FROM {now})) WHERE {column} IS NOT NULL"
        )
        return {str(value) for (value,) in found.fetchall()}


def _subjects(
    engine: duckdb.DuckDBPyConnection, services: Services, table: LakeTable, condition: str
) -> set[str]:
    column = _subject(table)
    if column is None:
        return set()
    rows = services.lake.relation(engine, table).filter(condition)
    found = rows.filter(f"{column} IS NOT NULL").project(column).distinct()
    return {str(value) for (value,) in found.fetchall()}


def readers_of(conn: Connection, table: str) -> list[str]:
    """Return the roles of PostgreSQL that may read a served table."""
    rows = conn.execute(
        "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
        " AND has_table_privilege(oid, to_regclass(%s), 'SELECT') ORDER BY rolname",
        (table,),
    ).fetchall()
    return [name for (name,) in rows]


def _subject(table: LakeTable) -> str | None:
    return next((name for name in SUBJECTS if name in table.schema.names), None)
