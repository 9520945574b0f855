"""Drills: a backup made a platform again in a scratch place, judged, timed, thrown away (B-11)."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from pipeline_platform.failures import PlatformError, UnavailableError
from pipeline_platform.lake.engine import local_temp
from pipeline_platform.recovery.backup_sets import BackupSets, DatabasePart, Part, PlatformBackup
from pipeline_platform.recovery.exercises import (
    FAILOVER,
    Exercise,
    exercise_failover,
    exercise_lake,
)
from pipeline_platform.recovery.landing_copies import landing_faults
from pipeline_platform.recovery.restoration import (
    last_change,
    restore_lake,
    unpacked,
)
from pipeline_platform.recovery.verification import contract_faults, lake_faults
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded, physical_backup
from pipeline_platform.warehouse.dumps import load
from pipeline_platform.warehouse.physical_backup import Target
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.table_contents import contents, differences
from pipeline_platform.warehouse.wal import restore_command

DRILLS = "drills"
SPACE_FACTOR = 4
"""Free space that a drill needs, in sizes of the backup: fetched, unpacked, and room to work."""


@dataclass
class Found:
    """What a drill has found so far."""

    recovered_until: datetime | None = None
    database_tables: int = 0
    lake_tables: int = 0
    lake_rows: int = 0
    rules: int = 0
    skipped: tuple[str, ...] = ()
    exercises: tuple[Exercise, ...] = ()
    landing_files: int = 0


class DrillResult(Part):
    """What a drill found out.

    `seconds` is from the first byte read until everything was verified. `recovered_until` is the
    latest change of the database that came back. `skipped` says what could not be compared, which
    is no proof (SW-47). `exercises` are the ways of recovery besides that of everything; they come
    after `seconds` (B-11).
    """

    backup_id: str
    began_at: datetime
    ended_at: datetime
    seconds: float
    recovered_until: datetime | None
    database_tables: int
    lake_tables: int
    lake_rows: int
    rules: int
    landing_files: int = 0
    faults: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    exercises: tuple[Exercise, ...] = ()

    @property
    def data_age_minutes(self) -> float | None:
        """How old the newest change was that came back, when the drill began."""
        if self.recovered_until is None:
            return None
        return max(0.0, (self.began_at - self.recovered_until).total_seconds() / 60)

    def in_words(self) -> str:
        """Say it in one line."""
        age = self.data_age_minutes
        outcome = f"{len(self.faults)} faults" if self.faults else "proven"
        data = "" if age is None else f", data age {age:.0f} min"
        left = f", {len(self.skipped)} not compared" if self.skipped else ""
        return (
            f"{outcome} {self.ended_at:%Y-%m-%d %H:%M} UTC, {self.seconds / 60:.1f} min{data}{left}"
        )


def drill(
    settings: Settings, sets: BackupSets, backup: PlatformBackup, *, clock: Callable[[], datetime]
) -> DrillResult:
    """Restore a backup into a scratch folder and a server of its own; keep and return the result.

    The database is stopped where it was counted and compared, then taken to the newest kept change.
    The lake is rebuilt, every table read through the catalog, every contract judged; then the other
    ways of recovery are exercised there, and each copy of a delivered file is read and compared,
    without a place for all of them. What goes wrong is a fault of the result, never an error;
    UnavailableError says that there is no space.
    """
    _require_space(settings, backup)
    began_at, started = clock(), time.monotonic()
    seconds: float | None = None
    found = Found()
    faults: list[str] = []
    try:
        with _scratch(settings) as scratch, _restored(scratch, sets, backup, found) as (url, said):
            faults += said
            with _lake_at(scratch, backup, url, found) as services:
                if services is not None:
                    faults += _look_at_lake(services, sets, backup, found, clock)
                    seconds = time.monotonic() - started
                    found.exercises += tuple(exercise_lake(services, sets, backup))
            faults += [fault for one in found.exercises for fault in one.faults]
            if backup.landing is not None:
                found.landing_files = backup.landing.file_count
                faults += landing_faults(sets, backup.landing)
    except PlatformError as error:
        faults.append(str(error))
    result = DrillResult(
        backup_id=backup.id,
        began_at=began_at,
        ended_at=clock(),
        seconds=time.monotonic() - started if seconds is None else seconds,
        faults=tuple(faults),
        **vars(found),
    )
    key = f"{DRILLS}/{result.ended_at:%Y-%m-%dT%H-%M-%S}Z.json"
    sets.store.put(key, result.model_dump_json().encode())
    return result


def drills(sets: BackupSets) -> list[str]:
    """Return the keys of all drills' results, the oldest first."""
    return sorted(one.key for one in sets.store.list(DRILLS))


def last_drill(sets: BackupSets) -> DrillResult | None:
    """Return the newest drill's result; None if there was none."""
    keys = drills(sets)
    return DrillResult.model_validate_json(sets.store.read(keys[-1])) if keys else None


def _require_space(settings: Settings, backup: PlatformBackup) -> None:
    parent = local_temp(settings)
    parent.mkdir(parents=True, exist_ok=True)
    delivered = backup.landing.size_bytes if backup.landing else 0  # read where they lie
    wanted = SPACE_FACTOR * (backup.size_bytes - delivered)
    free = shutil.disk_usage(parent).free
    if free < wanted:
        raise UnavailableError(
            f"A drill of {backup.id} needs {wanted:,} bytes below {parent}, but {free:,} are free; "
            "make room, or set PLATFORM_TEMP_LOCATION to a larger disk."
        )


@contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """Lend settings of a platform that has nothing in common with the real one but its backups."""
    with tempfile.TemporaryDirectory(dir=local_temp(settings), prefix="drill-") as folder:
        yield Settings(
            home=Path(folder),
            environment=settings.environment,
            backups_location=settings.backups_location,
            s3_endpoint=settings.s3_endpoint,
            s3_region=settings.s3_region,
            memory_limit=settings.memory_limit,
            threads=settings.threads,
        )


@contextmanager
def _restored(
    scratch: Settings, sets: BackupSets, backup: PlatformBackup, found: Found
) -> Iterator[tuple[str, list[str]]]:
    """Bring the database back; lend its address and what is wrong with it."""
    part = backup.database
    if part is None:
        found.skipped += ("the database: this backup is of the lake alone",)
        url = embedded.start(scratch, is_durable=False)
        try:
            yield url, []
        finally:
            embedded.stop(scratch)
        return
    lend = _from_base if part.kind == "base" else _from_dumps
    with lend(scratch, sets, part, found) as lent:
        yield lent


def is_comparable(part: DatabasePart, found: Found) -> bool:
    """Tell whether tables can be compared with what they held; what can't is noted as skipped."""
    if part.is_exact:
        found.database_tables = len(part.contents)
        return True
    reason = "others wrote while they were counted, so there is nothing exact to compare with"
    found.skipped += (f"{len(part.contents)} tables of the database: {reason}",)
    return False


@contextmanager
def _from_base(
    scratch: Settings, sets: BackupSets, part: DatabasePart, found: Found
) -> Iterator[tuple[str, list[str]]]:
    files = ServerFiles(scratch.home)
    files.prepare()
    command = restore_command(scratch, sets.log_location)
    faults = []
    try:
        with unpacked(sets, files, part, files.data):
            if is_comparable(part, found):
                at_proof = Target(lsn=part.proved_lsn)
                with physical_backup.recovered(
                    files,
                    files.data,
                    command,
                    at_proof,
                    is_final=False,
                    options=embedded.NOT_DURABLE,
                ) as url:
                    faults = differences(part.contents, contents(embedded.databases_at(url)))
            began = time.monotonic()
            with physical_backup.recovered(
                files, files.data, command, Target(), is_final=True, options=embedded.NOT_DURABLE
            ) as url:
                found.recovered_until = last_change(url) or part.proved_at
                found.exercises += (exercise_failover(url, time.monotonic() - began),)
                yield url, faults
    finally:
        shutil.rmtree(files.data, ignore_errors=True)


@contextmanager
def _from_dumps(
    scratch: Settings, sets: BackupSets, part: DatabasePart, found: Found
) -> Iterator[tuple[str, list[str]]]:
    url = embedded.start(scratch, is_durable=False)
    try:
        urls = embedded.databases_at(url)
        for file in part.files:
            path = scratch.home / Path(file.key).name
            file.fetch(sets.store, path)
            load(urls[path.stem], path)
        found.recovered_until = part.proved_at
        reason = "the log of a server by URL is its provider's"
        found.exercises += (Exercise(name=FAILOVER, seconds=0, skipped=reason),)
        found.database_tables = len(part.contents)
        held = {Path(file.key).stem: urls[Path(file.key).stem] for file in part.files}
        yield url, differences(part.contents, contents(held))
    finally:
        embedded.stop(scratch)


@contextmanager
def _lake_at(
    scratch: Settings, backup: PlatformBackup, url: str, found: Found
) -> Iterator[Services | None]:
    """Lend the services of the scratch place; None for a backup without the lake."""
    if backup.lake is None:
        found.skipped += ("the lake: this backup has none",)
        yield None
        return
    with Services(scratch.model_copy(update={"database_url": SecretStr(url)})) as services:
        yield services


def _look_at_lake(
    services: Services,
    sets: BackupSets,
    backup: PlatformBackup,
    found: Found,
    clock: Callable[[], datetime],
) -> list[str]:
    """Rebuild the lake in the scratch folder and judge it; return what is wrong."""
    assert backup.lake is not None  # noqa: S101 -- else there are no services
    location = services.settings.processed_location
    done = restore_lake(services, sets, backup, location=location)
    found.lake_tables = len(done)
    found.lake_rows = sum(one.row_count for one in done)
    faults = lake_faults(services.lake, backup.lake)
    found.rules, broken = contract_faults(services.lake, clock())
    return [*faults, *broken]
