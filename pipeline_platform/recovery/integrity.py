"""Whether a platform holds together, aspect by aspect; after a restoration against its backup, too.

What a drill and the guided recovery look at (files, rows, contracts), and what only the platform
itself can be asked: records that add up, positions, delivered files, queries (SA-66, SW-51).
Nothing is changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import psycopg
from psycopg import sql

from pipeline_platform.failures import NotFoundError, PlatformError
from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.ingestion.undoing import POSITIONS
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.export import lost_files, table_names
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.progress import tracked
from pipeline_platform.quality.conservation import gaps, imbalances
from pipeline_platform.recovery.backup_sets import (
    BackupSets,
    LakePart,
    LakeTablePart,
    PlatformBackup,
)
from pipeline_platform.recovery.backups import database_urls
from pipeline_platform.recovery.redelivery import files_without_rows, unknown_files
from pipeline_platform.recovery.verification import contract_faults, lake_faults, table_query
from pipeline_platform.refinement import HOP as REFINEMENT_HOP
from pipeline_platform.services import Services
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.warehouse.table_contents import contents

Query = Callable[[], object]
Identifier = tuple[str, str]


@dataclass(frozen=True)
class Looked:
    """What was looked at of one aspect: how many of what, and what is wrong."""

    aspect: str
    count: int
    unit: str
    faults: tuple[str, ...]

    def in_words(self) -> str:
        """Say it in one line."""
        outcome = "; ".join(self.faults[:5]) if self.faults else "all well"
        return f"{self.aspect}: {self.count} {self.unit}, {outcome}"


def look_at_platform(
    services: Services,
    now: datetime,
    *,
    queries: Mapping[str, Query],
    backup: PlatformBackup | None = None,
) -> Iterator[Looked]:
    """Yield each aspect as it was looked at; with a `backup`, what came back is compared with it.

    `queries` are sample queries by name, each of which must be answered. An aspect that can't be
    looked at is faulty.
    """
    aspects: dict[str, Callable[[], Looked]] = {
        "database": lambda: _database(services, backup),
        "lake files": lambda: look_at_files(services, backup.lake if backup else None),
        "lake checksums": lambda: _checksums(services, backup),
        "lake partitions": lambda: _partitions(services),
        "served partitions": lambda: _served_partitions(services),
        "contracts": lambda: look_at_contracts(services, now),
        "conservation ledger": lambda: _ledger(services),
        "positions": lambda: _positions(services),
        "delivered files": lambda: _deliveries(services, now),
        "sample queries": lambda: _queries(queries),
    }
    if backup is None or backup.lake is None:
        del aspects["lake checksums"]
    for aspect, look in aspects.items():
        try:
            yield look()
        except (PlatformError, psycopg.Error, duckdb.Error, OSError) as error:
            yield Looked(aspect, 0, "looked at", (f"it can't be read: {error}",))


def compared_with(
    sets: BackupSets, database_id: str | None, lake_id: str | None
) -> PlatformBackup | None:
    """Return what a restored platform is compared with: a backup of the lake, one of the database.

    Without an id the newest sound one of each; None where there is none. Raises NotFoundError for
    an id that there is not.
    """
    lake = sets.newest_sound("lake") if lake_id is None else sets.get(lake_id)
    database = sets.newest_sound("database") if database_id is None else sets.get(database_id)
    if lake is None or database is None:
        return lake or database
    return lake.model_copy(update={"database": database.database})


def _database(services: Services, backup: PlatformBackup | None) -> Looked:
    """Read every row of every table; each table that the backup has must be there."""
    found, faults = contents(database_urls(services.settings)), list[str]()
    if backup is not None and backup.database is not None:
        part = backup.database
        faults = [
            f"the table {name} is missing" for name in sorted(part.contents.keys() - found.keys())
        ]
        with services.database.connection() as connection:
            row = connection.execute("SELECT max(version) FROM schema_migrations").fetchone()
        if row is None or row[0] < part.migration:
            faults.append(f"its schema is {row and row[0]}, the backup's {part.migration}")
    return Looked("database", len(found), "tables read", tuple(faults))


def look_at_files(services: Services, part: LakePart | None) -> Looked:
    """Look for every file of the lake; and for the tables, files and rows that a backup has."""
    lake, names = services.lake, table_names(services.lake)
    faults = lake_faults(lake, part) if part else []
    judged = {one.identifier for one in (part.tables if part else ())}
    faults += [
        f"{'.'.join(one)} has lost {len(lost)} files"
        for one in names
        if one not in judged and (lost := lost_files(lake, one))
    ]
    return Looked("lake files", len(names), "tables", tuple(faults))


def _checksums(services: Services, backup: PlatformBackup | None) -> Looked:
    """Read every file of the lake that the backup has, and compare its SHA-256."""
    sets, count, faults = BackupSets(services.settings), 0, list[str]()
    for table in tracked(backup.lake.tables if backup and backup.lake else (), "tables"):
        paths = _live_paths(services, table)
        if paths is None:
            continue
        root, present = paths
        store = ObjectStore.at(root, services.settings)
        for file in sets.export(table).data_files:
            if file.path not in present:
                continue
            count += 1
            try:
                found = store.sha256(file.path)
            except NotFoundError:
                found = "missing"
            if found != file.sha256:
                faults.append(f"{root}/{file.path} is not what was backed up ({found[:12]})")
    return Looked("lake checksums", count, "files of the backup compared", tuple(faults))


def _live_paths(services: Services, table: LakeTablePart) -> tuple[str, set[str]] | None:
    """Return a table's location, and the paths below it of its present data files."""
    iceberg = services.lake.named(table.identifier)
    snapshot = iceberg.current_snapshot() if iceberg else None
    if iceberg is None or snapshot is None:
        return None
    root = iceberg.location()
    try:
        paths = {
            entry.data_file.file_path.removeprefix(f"{root}/")
            for manifest in snapshot.manifests(iceberg.io)
            for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
        }
    except FileNotFoundError:
        return None  # told as lost files
    return root, paths


def _partitions(services: Services) -> Looked:
    """Count each partition's rows by reading them, and compare with what the catalog says."""
    count, faults = 0, list[str]()
    for identifier in tracked(table_names(services.lake), "tables"):
        if lost_files(services.lake, identifier):
            continue  # told already
        wanted = {str(key): rows for key, rows in services.lake.row_counts(identifier).items()}
        found = _rows_by_partition(services, identifier)
        count += len(wanted)
        faults += [
            f"{'.'.join(identifier)} has {found.get(key, 0)} rows in partition {key}, "
            f"not {wanted.get(key, 0)}"
            for key in sorted(wanted.keys() | found.keys())
            if wanted.get(key, 0) != found.get(key, 0)
        ]
    return Looked("lake partitions", count, "partitions counted", tuple(faults))


def _rows_by_partition(services: Services, identifier: Identifier) -> dict[str, int]:
    iceberg, query = services.lake.named(identifier), table_query(services.lake, identifier)
    if iceberg is None or query is None:
        return {}
    fields = iceberg.spec().fields
    key = f'"{iceberg.schema().find_column_name(fields[0].source_id)}"' if fields else "NULL"
    with connect(services.settings) as con:
        rows = con.execute(f"SELECT {key}, count(*) FROM ({query}) GROUP BY 1").fetchall()
    return {str(value): rows for value, rows in rows}


def _served_partitions(services: Services) -> Looked:
    """Look for rows of PostgreSQL that lie outside every partition that is made for them."""
    count, faults = 0, list[str]()
    with services.database.connection() as connection:
        found = connection.execute(
            "SELECT parent.relname, child.relname,"
            " pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'"
            " FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
            " JOIN pg_class AS parent ON parent.oid = inhparent"
            " WHERE parent.relkind = 'p' AND child.relkind = 'r' ORDER BY 1, 2"
        ).fetchall()
        for parent, child, is_default in found:
            count += 1
            if is_default:
                query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(child))
                row = connection.execute(query).fetchone()
                if row and row[0]:
                    faults.append(f"{row[0]} rows of {parent} lie outside every partition")
    return Looked("served partitions", count, "partitions", tuple(faults))


def look_at_contracts(services: Services, now: datetime) -> Looked:
    """Judge every rule of every contract."""
    rules, faults = contract_faults(services.lake, now)
    return Looked("contracts", rules, "rules judged", tuple(faults))


def _ledger(services: Services) -> Looked:
    """Look whether what arrived at each hop is accounted for, and reached the next (B-8)."""
    count, faults = 0, list[str]()
    with services.database.connection() as connection:
        for pipeline in runbooks():
            row = connection.execute(
                "SELECT count(*) FROM conservation_ledger WHERE pipeline = %s", (pipeline,)
            ).fetchone()
            count += row[0] if row else 0
            faults += [
                f"{pipeline}: {one.imbalance} records of file {one.file_sha256[:12]} are not "
                f"accounted for at {one.hop}"
                for one in imbalances(connection, pipeline)
            ]
            faults += [
                f"{pipeline}: of file {one.file_sha256[:12]}, {one.partition_key}, "
                f"{one.published} records were published and {one.arrived} received"
                for one in gaps(connection, pipeline, LANDING_HOP, REFINEMENT_HOP)
            ]
    return Looked("conservation ledger", count, "entries", tuple(faults))


def _positions(services: Services) -> Looked:
    """Look whether each stream's position is the one that the newest rows were committed with."""
    count, faults = 0, list[str]()
    for identifier in table_names(services.lake):
        iceberg = services.lake.named(identifier)
        if iceberg is None:
            continue
        for name, text in iceberg.properties.items():
            if not name.startswith(property_name("")):
                continue
            count += 1
            stream = name.removeprefix(property_name(""))
            said = [
                json.loads(one.summary.additional_properties[POSITIONS])
                for one in iceberg.snapshots()
                if one.summary and POSITIONS in one.summary.additional_properties
            ]
            committed = [one[stream] for one in said if stream in one]
            try:
                position = Committed.parse(text).positions
            except PlatformError as error:
                faults.append(str(error))
                continue
            if committed and dict(position) != committed[-1]:
                faults.append(
                    f"{'.'.join(identifier)} is at another position of the stream {stream} than "
                    "its newest rows were committed with"
                )
    return Looked("positions", count, "streams", tuple(faults))


def _deliveries(services: Services, now: datetime) -> Looked:
    """Look for each delivered file that the register knows, and for rows that it should have."""
    count, faults = 0, list[str]()
    for pipeline, runbook in runbooks().items():
        kept_since = now - timedelta(days=runbook.rulings.archive_kept_days)
        zone = services.landing(pipeline)
        with services.database.connection() as connection:
            rows = connection.execute(
                "SELECT file_sha256, file_name FROM etl_processing_log WHERE pipeline = %s"
                " AND status IN ('PUBLISHED', 'COMPLETED') AND arrived_at > %s"
                " ORDER BY arrived_at",
                (pipeline, kept_since),
            ).fetchall()
            held = connection.execute(
                "SELECT file_sha256, file_name FROM quarantined_files"
                " WHERE pipeline = %s AND state = 'HELD' ORDER BY quarantined_at",
                (pipeline,),
            ).fetchall()
        archived = {one.key.split("/")[1] for one in zone.archived()}
        quarantined = {one.key.split("/")[0] for one in zone.list("quarantine")}
        count += len(rows) + len(held)
        faults += _missing(pipeline, "archive", rows, archived)
        faults += _missing(pipeline, "quarantine", held, quarantined | archived)
        lost = files_without_rows(services, pipeline)
        if lost:
            faults.append(
                f"{pipeline}: {len(lost)} published files have no rows in bronze, such as "
                f"{lost[0][:12]} (`landing reread`)"
            )
        unknown = unknown_files(services, pipeline)
        if unknown:
            faults.append(f"{pipeline}: {len(unknown)} archived files are not in the register")
    return Looked("delivered files", count, "files", tuple(faults))


def _missing(
    pipeline: str, place: str, known: list[tuple[str, str]], present: set[str]
) -> Iterator[str]:
    gone = [(sha256, name) for sha256, name in known if sha256 not in present]
    if gone:
        sha256, name = gone[0]
        yield (
            f"{pipeline}: {len(gone)} files of the register are not in {place}, such as "
            f"{name} ({sha256[:12]})"
        )


def _queries(queries: Mapping[str, Query]) -> Looked:
    """Ask each sample query."""
    faults = []
    for name, ask in tracked(list(queries.items()), "queries"):
        try:
            ask()
        except Exception as error:
            faults.append(f"{name}: {' '.join(str(error).split())[:200]}")
    return Looked("sample queries", len(queries), "queries", tuple(faults))
