"""What the checks ask of backups and drills: how old, how far back, how long, how sound.

A platform that has no backup yet is as old as its database's first migration: nothing of it could
be brought back, and nothing is not "not measurable".
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pipeline_platform.lake.export import lost_files, table_names
from pipeline_platform.lake.lake import Lake, TableSize
from pipeline_platform.lake.lineage import foreign_snapshots
from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, SECONDS_PER_MINUTE, Labelled, Scope
from pipeline_platform.recovery.backup_sets import BackupSets, PartName, PlatformBackup
from pipeline_platform.recovery.backups import is_ours
from pipeline_platform.recovery.drills import last_drill
from pipeline_platform.recovery.second_copy import second_settings
from pipeline_platform.warehouse.wal import archiving, kept_elsewhere

SKIPPED = "the lake has forgotten the snapshot that was saved"
DAY = timedelta(hours=26)
"""A backup of the day may be so old: it is made once a day, and making it takes time (SA-91)."""
BETWEEN_BACKUPS = timedelta(hours=24)
_SECONDS_PER_HOUR = 3600


def backup_age(scope: Scope[Any]) -> Labelled:
    """Measure hours since the newest sound backup of the database, and of the lake (SA-91)."""
    sets, now = BackupSets(scope.run.services.settings), scope.run.now()
    ages: dict[str, Measurement] = {}
    parts: tuple[PartName, ...] = ("database", "lake")
    for part in parts:
        newest = sets.newest_sound(part)
        since = newest.ended_at if newest else made_at(scope)
        ages[part] = Measurement("backup_age", (now - since).total_seconds() / _SECONDS_PER_HOUR)
    return ages


def second_copy_age(scope: Scope[Any]) -> Labelled:
    """Measure hours since the newest backup that the second place has whole (SA-93)."""
    settings = scope.run.services.settings
    if not settings.second_backups_location:
        reason = "no second place is set (PLATFORM_SECOND_BACKUPS_LOCATION)"
        return {ALL: unmeasured("second_copy_age", reason)}
    newest = BackupSets(second_settings(settings)).newest()
    since = newest.ended_at if newest else made_at(scope)
    hours = (scope.run.now() - since).total_seconds() / _SECONDS_PER_HOUR
    return {ALL: Measurement("second_copy_age", hours)}


def recoverable_point(scope: Scope[Any]) -> Labelled:
    """Measure minutes since the newest instant to which database and lake can be brought back.

    Of the embedded database that is what its log is kept up to (SA-92, SA-98); of a server by URL
    what it says that it archived, if it does. Of the lake it is the newest backup.
    Without a log only a daily backup comes back: that is a day, however young it is (X-12).
    """
    settings, now = scope.run.services.settings, scope.run.now()
    sets = BackupSets(settings)
    lake = sets.newest_sound("lake")
    until = {"lake": lake.began_at if lake else made_at(scope)}
    found: dict[str, Measurement] = {}
    if is_ours(settings):
        has_base = sets.newest_sound("database") is not None
        with scope.run.services.database.autocommit_connection() as connection:
            log = archiving(connection)
        kept = log.recoverable_until if has_base else None
        until["database"] = kept or made_at(scope)
        if not log.is_on:
            until["database"] = min(until["database"], now - BETWEEN_BACKUPS)
    else:
        with scope.run.services.database.autocommit_connection() as connection:
            archived_until, reason = kept_elsewhere(connection)
        if archived_until is not None:
            until["database"] = archived_until
        else:
            found["database"] = unmeasured("recoverable_point", str(reason))
    for part, instant in until.items():
        minutes = max(0.0, (now - instant).total_seconds() / SECONDS_PER_MINUTE)
        found[part] = Measurement("recoverable_point", minutes)
    return found


def recovery_time(scope: Scope[Any]) -> Labelled:
    """Measure how many hours the last drill took until all was back and verified (SA-97)."""
    result = last_drill(BackupSets(scope.run.services.settings))
    if result is None:
        reason = "no drill was made yet; the job operations_recovery_drill makes one"
        return {ALL: unmeasured("recovery_time", reason)}
    return {ALL: Measurement("recovery_time", result.seconds / _SECONDS_PER_HOUR)}


def backup_faults(scope: Scope[Any]) -> Labelled:
    """Count what was found wrong with the newest verified backup and by the newest drill.

    (SA-91, SW-51, B-11.) Backups of the lake alone, made between two daily ones, are not verified.
    """
    sets = BackupSets(scope.run.services.settings)
    verified, result = sets.newest_verdict(), last_drill(sets)
    found = {}
    if verified is not None:
        backup_id, verdict = verified
        found[backup_id] = _faults(verdict.faults)
    if result is not None:
        found[f"drill of {result.ended_at:%Y-%m-%d}"] = _faults(result.faults)
    if not found:
        found[ALL] = unmeasured("backup_faults", "no backup was verified yet, and no drill made")
    return found


def unsaved_tables(scope: Scope[Any]) -> Labelled:
    """Count tables of the pipeline that the day's backup lacks, or has otherwise (SW-47).

    A table is otherwise if the lake still knows the backup's snapshot and it has another number of
    rows. One whose snapshot the lake has forgotten can't be compared: it is told as skipped, in the
    parts by number and among the keys by name.
    """
    services, pipeline = scope.run.services, scope.pipeline
    newest = BackupSets(services.settings).newest("lake")
    tables = {
        name: size for name, size in services.lake.table_sizes().items()
        if name.startswith(f"{pipeline}_")
    }  # fmt: skip
    if newest is None or scope.run.now() - newest.ended_at > DAY:
        if scope.run.now() - made_at(scope) <= DAY:
            reason = "the platform is younger than its first daily backup"
            return {ALL: unmeasured("unsaved_tables", reason)}
        wrong, skipped = sorted(tables), list[str]()
    else:
        wrong, skipped = compared_tables(services.lake, newest, tables)
    return {
        ALL: Measurement(
            "unsaved_tables",
            len(wrong),
            len(wrong),
            len(tables),
            offenders=(*wrong, *(f"{name}: not compared, {SKIPPED}" for name in skipped)),
            parts={"not compared": len(skipped)},
        )
    }


def damaged_files(scope: Scope[Any]) -> Labelled:
    """Count files of the pipeline's tables that are gone or have another size (SA-89, SW-11).

    What `recover` would put back; a file of the right size with other bytes is found by whoever
    reads it, and by the verification of the next backup.
    """
    lake = scope.run.services.lake
    names = _tables_of(scope)
    if not names:
        return {ALL: unmeasured("damaged_files", "there is no table yet")}
    lost = [path for name in names for path in lost_files(lake, name)]
    return {ALL: Measurement("damaged_files", len(lost), offenders=tuple(sorted(lost)))}


def foreign_commits(scope: Scope[Any]) -> Labelled:
    """Count commits to the pipeline's tables that no run of the platform made (SA-89, SW-11).

    Rows that somebody deleted, added or changed by hand; what a later restoration answered is
    left out.
    """
    lake = scope.run.services.lake
    tables = [lake.named(one) for one in _tables_of(scope)]
    if not tables:
        return {ALL: unmeasured("foreign_commits", "there is no table yet")}
    found = [
        f"{'.'.join(table.name())} {snapshot.snapshot_id}"
        for table in tables
        if table is not None
        for snapshot in foreign_snapshots(table)
    ]
    return {ALL: Measurement("foreign_commits", len(found), offenders=tuple(found))}


def _tables_of(scope: Scope[Any]) -> list[tuple[str, str]]:
    names = table_names(scope.run.services.lake)
    return [one for one in names if one[0].startswith(f"{scope.pipeline}_")]


def compared_tables(
    lake: Lake, backup: PlatformBackup, tables: Mapping[str, TableSize]
) -> tuple[list[str], list[str]]:
    """Return the tables that a backup lacks or has otherwise, and those that can't be compared."""
    saved = {".".join(one.identifier): one for one in (backup.lake.tables if backup.lake else ())}
    wrong, skipped = [name for name in tables if name not in saved], []
    for name in tables.keys() & saved.keys():
        part = saved[name]
        iceberg = lake.named(part.identifier)
        if part.snapshot_id is None:
            continue  # nothing was ever committed to it
        snapshot = iceberg.snapshot_by_id(part.snapshot_id) if iceberg else None
        if snapshot is None or snapshot.summary is None:
            skipped.append(name)
        elif int(snapshot.summary["total-records"] or 0) != part.row_count:
            wrong.append(name)
    return sorted(wrong), sorted(skipped)


def _faults(faults: tuple[str, ...]) -> Measurement:
    return Measurement("backup_faults", len(faults), offenders=faults)


def made_at(scope: Scope[Any]) -> datetime:
    """Return when the platform's database got its first migration."""
    ((made_at,),) = scope.rows("SELECT min(applied_at) FROM schema_migrations")
    assert isinstance(made_at, datetime)  # noqa: S101 -- a migrated database has migrations
    return made_at
