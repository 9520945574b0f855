"""A lost database or lake made again from a backup, and from the database's log since."""

import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from pipeline_platform.failures import BadInputError, NotFoundError, PermanentError
from pipeline_platform.lake.backup import local_folder
from pipeline_platform.lake.export import lost_files, put_back
from pipeline_platform.lake.rebuilding import rebuild_table
from pipeline_platform.progress import tracked
from pipeline_platform.recovery.backup_sets import (
    BackupSets,
    DatabasePart,
    LakeTablePart,
    PlatformBackup,
)
from pipeline_platform.recovery.backups import database_urls, is_ours
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded, physical_backup
from pipeline_platform.warehouse.dumps import load
from pipeline_platform.warehouse.migrations import migrate
from pipeline_platform.warehouse.physical_backup import Target
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.stops import EVERYTHING, stop
from pipeline_platform.warehouse.table_contents import contents, differences
from pipeline_platform.warehouse.wal import archiving_options, restore_command

_SEGMENT = re.compile(r"[0-9A-F]{24}")


@dataclass(frozen=True)
class RestoredDatabase:
    """What became of a database: how the copy was proved, up to when it holds, what it replaced."""

    proof: str
    holds_until: datetime | None
    replaced: Path | None


@dataclass(frozen=True)
class RestoredTable:
    """How a table of the lake came back.

    `untouched`: nothing was lost. `mended`: lost files were put back, so it holds all that it did.
    `rebuilt`: it is what it was at the backup's snapshot.
    """

    identifier: tuple[str, str]
    outcome: Literal["untouched", "mended", "rebuilt"]
    row_count: int


def target_of(backup: PlatformBackup, at: datetime | None) -> Target:
    """Return up to where a database is brought back; BadInputError before the backup's end."""
    part = _database_of(backup)
    if at is not None and at < part.proved_at:
        raise BadInputError(
            f"The backup {backup.id} holds the database from {part.proved_at:%Y-%m-%d %H:%M:%S} "
            f"UTC on, not {at:%Y-%m-%d %H:%M:%S} UTC; choose an older backup."
        )
    if at is not None and part.kind == "dump":
        raise BadInputError(
            f"The backup {backup.id} is a dump of a server whose log the platform does not keep; "
            "it comes back as it was, without an instant. Your provider may be able to do more."
        )
    return Target(at=at)


def restore_database(
    settings: Settings, sets: BackupSets, backup: PlatformBackup, target: Target, *, by: str
) -> RestoredDatabase:
    """Bring the database back to a point, with everything stopped until somebody resumes it.

    The embedded server's old data are kept beside the new ones, which take their place last. A
    restoration that is killed changes nothing, or is complete at the next start of the server.
    Raises PermanentError when the copy does not hold what it held when it was made.
    """
    part = _database_of(backup)
    if part.kind == "dump":
        return _restore_dumps(settings, sets, part, by=by)
    if not is_ours(settings):
        raise BadInputError(
            f"The backup {backup.id} is one of the embedded server, but the settings name another; "
            "unset PLATFORM_DATABASE_URL, or ask that server's provider for its own backups."
        )
    with embedded.kept_stopped(settings) as files:
        fresh = files.data.with_name("data.restoring")
        with unpacked(sets, files, part, fresh):
            _rescue_log(files, fresh)
            command = restore_command(settings, sets.log_location)
            proof = _prove_copy(files, fresh, command, part)
            options = archiving_options(settings, files)
            with physical_backup.recovered(
                files, fresh, command, target, is_final=True, options=options
            ) as url:
                until = last_change(url)
                _stop_everything(url, by, backup.id)
                _set_password(url, files)
        shutil.rmtree(files.restored_data, ignore_errors=True)
        fresh.rename(files.restored_data)
        replaced = _put_in_place(files)
    embedded.start(settings)
    return RestoredDatabase(proof, until, replaced)


def restore_lake(
    services: Services, sets: BackupSets, backup: PlatformBackup, *, location: str | None = None
) -> list[RestoredTable]:
    """Bring the lake's tables back, and their entries in the catalog.

    Where they were, files that are lost are put back first; a table that is whole then has lost
    nothing. All others, and all tables at another `location`, become what they were at the backup's
    snapshot. Raises PermanentError for a damaged backup.
    """
    done = []
    for table in tracked(lake_tables(backup), "tables"):
        export = sets.export(table)
        outcome: Literal["untouched", "mended", "rebuilt"] = "rebuilt"
        is_whole = False
        if location is None:
            is_whole = not lost_files(services.lake, table.identifier)
            outcome = "untouched"
            if not is_whole and export.location.startswith(services.settings.processed_location):
                put_back(services.lake, export, sets.store)
                is_whole = not lost_files(services.lake, table.identifier)
                outcome = "mended"
        if not is_whole:
            root = (location or services.settings.processed_location).rstrip("/")
            rebuild_table(services.lake, export, sets.store, "/".join((root, *table.identifier)))
            outcome = "rebuilt"
        done.append(RestoredTable(table.identifier, outcome, export.row_count))
    return done


def lake_tables(
    backup: PlatformBackup, only: Collection[tuple[str, str]] | None = None
) -> Sequence[LakeTablePart]:
    """Return a backup's tables; NotFoundError if it does not hold the lake, or one of these."""
    if backup.lake is None:
        raise NotFoundError(f"The backup {backup.id} does not hold the lake; use another one.")
    missing = set(only or ()) - {one.identifier for one in backup.lake.tables}
    if missing:
        raise NotFoundError(
            f"The backup {backup.id} does not hold {'.'.join(min(missing))}; use another one."
        )
    return [one for one in backup.lake.tables if only is None or one.identifier in only]


@contextmanager
def unpacked(
    sets: BackupSets, files: ServerFiles, part: DatabasePart, data: Path
) -> Iterator[None]:
    """Make a data directory of a base backup; removed again if the block fails."""
    with local_folder(sets.settings) as folder:
        for file in part.files:
            file.fetch(sets.store, folder / Path(file.key).name)
        physical_backup.unpack(files, folder, data)
    try:
        yield
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise


def _prove_copy(files: ServerFiles, data: Path, command: str, part: DatabasePart) -> str:
    """Compare the copy with what it held when it was made, at that position of the log."""
    if not part.is_exact:
        return "not compared: the database was never still when it was copied"
    at_proof = Target(lsn=part.proved_lsn)
    with physical_backup.recovered(files, data, command, at_proof, is_final=False) as url:
        found = differences(part.contents, contents(embedded.databases_at(url)))
    if found:
        raise PermanentError(
            f"The copy of the database is not what it was: {'; '.join(found[:5])}; use another "
            "backup."
        )
    rows = sum(one.rows for one in part.contents.values())
    return f"{len(part.contents)} tables with {rows} rows have the same counts and checksums"


def _rescue_log(files: ServerFiles, data: Path) -> None:
    """Take what the lost server wrote last and nobody kept yet, where its disk can be read."""
    for found in sorted((files.data / "pg_wal").glob("*")):
        target = data / "pg_wal" / found.name
        if _SEGMENT.fullmatch(found.name) and not target.exists():
            shutil.copyfile(found, target)
            files.give(target)


def _put_in_place(files: ServerFiles) -> Path | None:
    """Let the restored data take the place of the old, which stay beside them.

    So do those of earlier restorations: after a second one only they are what was there at first.
    """
    replaced = None
    if files.data.exists():
        replaced = files.data.with_name(f"data.replaced-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}")
        files.data.rename(replaced)
    files.restored_data.rename(files.data)
    descriptor = os.open(files.data.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return replaced


def _restore_dumps(
    settings: Settings, sets: BackupSets, part: DatabasePart, *, by: str
) -> RestoredDatabase:
    urls = database_urls(settings)
    with local_folder(settings) as folder:
        for file in part.files:
            path = folder / Path(file.key).name
            file.fetch(sets.store, path)
            load(urls[path.stem], path)
    found = contents(urls)
    wrong = differences(part.contents, found)
    if wrong:
        raise PermanentError(f"The database is not what the dump held: {'; '.join(wrong[:5])}.")
    _stop_everything(urls["platform"], by, "a dump")
    rows = sum(one.rows for one in found.values())
    proof = f"{len(found)} tables with {rows} rows have the same counts and checksums"
    return RestoredDatabase(proof, part.proved_at, None)


def _database_of(backup: PlatformBackup) -> DatabasePart:
    if backup.database is None:
        raise NotFoundError(f"The backup {backup.id} does not hold the database; use another one.")
    return backup.database


def last_change(url: str) -> datetime | None:
    """Return when the last change that came back was made."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
    return row[0] if row else None


def _stop_everything(url: str, by: str, what: str) -> None:
    """Let nothing start on what was brought back before somebody has looked at it."""
    migrate(url)
    with psycopg.connect(url) as connection:
        stop(
            connection,
            EVERYTHING,
            by=by,
            reason=f"the database was restored from {what}",
            now=datetime.now(UTC),
        )


def _set_password(url: str, files: ServerFiles) -> None:
    """Give the server's role the password that this home has; the backup may be of another."""
    with psycopg.connect(url) as connection:
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(
            statement.format(sql.Identifier(embedded.USER), sql.Literal(files.password()))
        )
