"""Making a backup of the platform: first the database, then lake and landing, last the manifest.

In this order, because the restored catalog may be older than the lake's files, never newer; and a
restored register may not know a delivered file, which then is delivered again.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import UnavailableError
from pipeline_platform.lake.backup import local_folder
from pipeline_platform.lake.catalog import CATALOG_DATABASE
from pipeline_platform.lake.export import ExportedFile, export_table, pin_tables
from pipeline_platform.landing.kept_file import KeptFile
from pipeline_platform.progress import tracked
from pipeline_platform.recovery.backup_sets import (
    SETS,
    BackupSets,
    DatabasePart,
    LakePart,
    LakeTablePart,
    LandingPart,
    PlatformBackup,
    new_id,
)
from pipeline_platform.recovery.landing_copies import copy_landing
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import physical_backup
from pipeline_platform.warehouse.database import connect, database_url
from pipeline_platform.warehouse.dumps import dump
from pipeline_platform.warehouse.embedded import DATABASES, databases_at
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.table_contents import TableContent, prove
from pipeline_platform.warehouse.wal import archiving, keep_all

LOCK = "backups"
"""Held by whoever makes or removes backups."""


def is_ours(settings: Settings) -> bool:
    """Tell whether the database is the embedded server, whose log the platform keeps itself."""
    return settings.database_url is None and settings.database_secret_name is None


def create_backup(
    services: Services,
    *,
    reason: str,
    clock: Callable[[], datetime],
    has_database: bool = True,
    wait_seconds: float = 60,
) -> PlatformBackup:
    """Back up the database (or leave it out), lake and landing; killed half-way, it leaves none.

    Raises ConflictError while another backup is made, UnavailableError if the server can't be
    copied, NotFoundError if a file of the lake is gone.
    """
    sets = BackupSets(services.settings)
    with named_lock(services.database, LOCK, wait_seconds=wait_seconds):
        began_at = clock()
        backup_id = new_id(began_at)
        database = None
        if has_database:
            copy = _base if is_ours(services.settings) else _dumps
            database = copy(services, sets, backup_id, clock)
        backup = PlatformBackup(
            id=backup_id,
            began_at=began_at,
            lake=_lake(services, sets, backup_id),
            landing=copy_landing(services, sets, _landing_before(sets), began_at),
            database=database,
            ended_at=clock(),
            reason=reason,
            code_version=code_version(),
        )
        sets.put(backup)
    return backup


def _base(
    services: Services, sets: BackupSets, backup_id: str, clock: Callable[[], datetime]
) -> DatabasePart:
    """Copy the embedded server, prove what it holds, and have its log kept up to there."""
    url = services.database.url
    with services.database.autocommit_connection() as connection:
        if not archiving(connection).is_on:
            raise UnavailableError(
                "The embedded PostgreSQL was started without keeping its log; run "
                "`pipeline-platform database stop` and `pipeline-platform database start` once."
            )
    with local_folder(services.settings) as folder:
        copied = folder / "base"
        log = physical_backup.take(url, copied)
        files = tuple(
            KeptFile.put(sets.store, f"database/{backup_id}/{name}", copied / name)
            for name in physical_backup.FILES
        )
    proof = prove(databases_at(url))
    proved_at = clock()
    with services.database.autocommit_connection() as connection:
        keep_all(connection)
    version, migration = _about(url)
    return DatabasePart(
        kind="base",
        files=files,
        log=log,
        proved_lsn=proof.lsn,
        proved_at=proved_at,
        is_exact=proof.is_exact,
        contents=dict(proof.contents),
        server_version=version,
        migration=migration,
    )


def _dumps(
    services: Services, sets: BackupSets, backup_id: str, clock: Callable[[], datetime]
) -> DatabasePart:
    """Dump each database of a server that is not ours."""
    files, contents = [], dict[str, TableContent]()
    proved_at = clock()
    with local_folder(services.settings) as folder:
        for name, url in tracked(database_urls(services.settings).items(), "databases"):
            path = folder / f"{name}.dump"
            held = dump(url, path)
            contents |= {f"{name}.{table}": content for table, content in held.items()}
            files.append(KeptFile.put(sets.store, f"database/{backup_id}/{path.name}", path))
            path.unlink()
    version, migration = _about(services.database.url)
    return DatabasePart(
        kind="dump",
        files=tuple(files),
        proved_at=proved_at,
        is_exact=True,
        contents=contents,
        server_version=version,
        migration=migration,
    )


def database_urls(settings: Settings) -> dict[str, str]:
    """Return the addresses of the platform's own databases by the name that a dump has."""
    has_catalog = settings.catalog == "sql" and not settings.catalog_uri
    names = [name for name in DATABASES if has_catalog or name != CATALOG_DATABASE]
    return {name: database_url(settings, name) for name in names}


def _about(url: str) -> tuple[str, int]:
    """Return the server's version, and that of the platform's schema."""
    with connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'),"
            " (SELECT coalesce(max(version), 0) FROM schema_migrations)"
        ).fetchone()
    assert row is not None  # noqa: S101 -- a function's result is one row
    return str(row[0]), int(row[1])


def _lake(services: Services, sets: BackupSets, backup_id: str) -> LakePart:
    """Export every table of the catalog; files of earlier backups are not copied again."""
    known = _known_files(sets)
    tables = []
    for pinned in pin_tables(services.lake):
        export = export_table(services.lake, pinned, sets.store, known.get(pinned.identifier, {}))
        key = f"{SETS}/{backup_id}/lake/{export.name}.json"
        kept = KeptFile.put(sets.store, key, export.model_dump_json().encode())
        tables.append(
            LakeTablePart(
                identifier=export.identifier,
                snapshot_id=export.snapshot_id,
                row_count=export.row_count,
                file_count=len(export.files),
                size_bytes=sum(file.size_bytes for file in export.files),
                export=kept,
            )
        )
    return LakePart(tables=tuple(tables))


def _landing_before(sets: BackupSets) -> LandingPart | None:
    newest = sets.newest("landing")
    return newest.landing if newest else None


def _known_files(sets: BackupSets) -> Mapping[tuple[str, str], Mapping[str, ExportedFile]]:
    """Return the files of the newest backup of the lake, by table and path."""
    newest = sets.newest("lake")
    tables = newest.lake.tables if newest and newest.lake else ()
    return {one.identifier: {file.path: file for file in sets.export(one).files} for one in tables}
