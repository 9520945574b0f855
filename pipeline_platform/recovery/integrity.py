"""Whether a platform holds together, aspect by aspect; after a restoration against its backup, too.

What a drill and the guided recovery look at (files, rows, contracts), and what only the platform
itself can be asked: records that add up, positions, delivered files, queries (SA-66, SW-51).
Nothing is changed.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

import duckdb
import psycopg
from psycopg import sql

from pipeline_platform.failures import NotFoundError, PlatformError
from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.progress import tracked
from pipeline_platform.quality.conservation import gaps, imbalances
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import database_urls
from pipeline_platform.recovery.lake_integrity import (
    Looked,
    look_at_checksums,
    look_at_contracts,
    look_at_files,
    look_at_partitions,
    look_at_positions,
)
from pipeline_platform.recovery.landing_copies import listed, lost_deliveries
from pipeline_platform.recovery.redelivery import files_without_rows, unknown_files
from pipeline_platform.refinement import HOP as REFINEMENT_HOP
from pipeline_platform.services import Services
from pipeline_platform.warehouse.table_contents import contents

Query = Callable[[], object]


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
        "lake checksums": lambda: look_at_checksums(services, backup.lake if backup else None),
        "lake partitions": lambda: look_at_partitions(services),
        "served partitions": lambda: _served_partitions(services),
        "contracts": lambda: look_at_contracts(services, now),
        "conservation ledger": lambda: _ledger(services),
        "positions": lambda: look_at_positions(services),
        "delivered files": lambda: _deliveries(services, now),
        "delivered files of the backup": lambda: _delivered_before(services, backup, now),
        "sample queries": lambda: _queries(queries),
    }
    if backup is None or backup.lake is None:
        del aspects["lake checksums"]
    if backup is None or backup.landing is None:
        del aspects["delivered files of the backup"]
    for aspect, look in aspects.items():
        try:
            yield look()
        except (PlatformError, psycopg.Error, duckdb.Error, OSError) as error:
            yield Looked(aspect, 0, "looked at", (f"it can't be read: {error}",))


def compared_with(
    sets: BackupSets, database_id: str | None, lake_id: str | None
) -> PlatformBackup | None:
    """Return what a restored platform is compared with: a backup of the lake, one of the database.

    Delivered files are those of the newest backup, which lists what was lost, too. Without an id
    it is the newest sound one of each; None where there is none. Raises NotFoundError for an id
    that there is not.
    """
    lake = sets.newest_sound("lake") if lake_id is None else sets.get(lake_id)
    database = sets.newest_sound("database") if database_id is None else sets.get(database_id)
    found = lake or database
    if found is None:
        return None
    landing = sets.newest_sound("landing")
    return found.model_copy(
        update={
            "database": database.database if database else None,
            "landing": landing.landing if landing else None,
        }
    )


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
        taken_up = {one.sha256 for one in zone.claimed()}
        unknown = [one for one in unknown_files(services, pipeline) if one[0] not in taken_up]
        if unknown:
            faults.append(f"{pipeline}: {len(unknown)} archived files are not in the register")
    return Looked("delivered files", count, "files", tuple(faults))


def _delivered_before(services: Services, backup: PlatformBackup | None, now: datetime) -> Looked:
    """Look for each delivered file that the backup lists, and compare what lies where it lay."""
    sets, part = BackupSets(services.settings), backup.landing if backup else None
    if part is None:
        return Looked("delivered files of the backup", 0, "files", ())
    faults = [
        f"{one.pipeline}: {one.folder}/{one.name} is lost (`restore --landing`)"
        for one in lost_deliveries(services, sets, part, now)
    ]
    files = listed(sets, part)
    for file in tracked(files, "delivered files"):
        store, prefix = services.landing(file.pipeline).store_of(file.folder)
        try:
            found = store.sha256(prefix + file.name)
        except NotFoundError:
            continue  # moved, or told as lost
        if found != file.sha256 and file.folder != "incoming":
            faults.append(f"{file.pipeline}: {file.folder}/{file.name} is not what was backed up")
    return Looked("delivered files of the backup", len(files), "files", tuple(faults))


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
