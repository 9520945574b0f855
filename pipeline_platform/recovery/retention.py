"""Which backups go, and what nothing needs any more then (SA-91, XC-8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pipeline_platform.lake.export import EXPORTS
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.recovery.backup_sets import MANIFEST, SETS, BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import LOCK
from pipeline_platform.recovery.landing_copies import LANDING, copies_of
from pipeline_platform.services import Services
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.wal import segment_of, segments_before


@dataclass(frozen=True)
class Doomed:
    """A file to be removed, and why; `is_log` says that it is a piece of the database's log."""

    key: str
    size_bytes: int
    reason: str
    is_log: bool = False


def plan_removal(
    sets: BackupSets,
    *,
    kept_for: timedelta,
    lake_kept_for: timedelta,
    kept_count: int,
    now: datetime,
) -> list[Doomed]:
    """Return the files of backups that are too old, but never of the newest `kept_count`.

    Those of the lake alone are kept for `lake_kept_for`. The count is of these with the database,
    and of these with the lake: a backup of the lake alone takes no other's place. A damaged one
    counts for none. Nobody may make a backup meanwhile: what has no manifest is taken for the
    remains of a killed one. Raises PermanentError, with nothing removed, if an export that is
    needed can't be read.
    """
    kept = _kept(sets, kept_for, lake_kept_for, kept_count, now)
    return [*_unneeded(sets, kept), *_old_log(sets, kept)]


def remove_old_backups(services: Services, *, now: datetime, dry_run: bool = False) -> list[Doomed]:
    """Do what `plan_removal` says by operations.yaml, and return it.

    Manifests go first: no half backup stays.
    """
    sets, kept = BackupSets(services.settings), operations_plan().backups
    plan_now = partial(
        plan_removal,
        sets,
        kept_for=timedelta(days=kept.kept_days),
        lake_kept_for=timedelta(days=kept.lake_kept_days),
        kept_count=kept.kept_count,
        now=now,
    )
    if dry_run:
        return plan_now()
    with named_lock(services.database, LOCK):
        plan = plan_now()
        for one in sorted(plan, key=lambda one: not one.key.endswith(f"/{MANIFEST}")):
            store = sets.log if one.is_log else sets.store
            store.delete(one.key)
            store.remove_empty_folders(one.key)
    return plan


def _kept(
    sets: BackupSets,
    kept_for: timedelta,
    lake_kept_for: timedelta,
    kept_count: int,
    now: datetime,
) -> list[PlatformBackup]:
    kept = []
    sound = {"database": 0, "lake": 0}
    for backup in sets.all():
        verdict = sets.verdict(backup.id)
        parts = [name for name in sound if getattr(backup, name) is not None]
        is_needed = any(sound[name] < kept_count for name in parts)
        longest = kept_for if backup.database is not None else lake_kept_for
        if is_needed or now - backup.ended_at <= longest:
            kept.append(backup)
            if verdict is None or not verdict.faults:
                for name in parts:
                    sound[name] += 1
    return kept


def _unneeded(sets: BackupSets, kept: Sequence[PlatformBackup]) -> Iterator[Doomed]:
    ids = {backup.id for backup in kept}
    # A table that nobody changed has the same export in every backup: each is read once.
    exports = {
        table.export.sha256: table
        for backup in kept
        for table in (backup.lake.tables if backup.lake else ())
    }
    needed = {file.key for table in exports.values() for file in sets.export(table).files}
    for part in (backup.landing for backup in kept if backup.landing):
        needed.add(part.files.key)
        needed |= {file.key for file in copies_of(sets, part)}
    for prefix in (SETS, "database"):
        for one in sets.store.list(prefix):
            if one.key.split("/")[1] not in ids:
                yield Doomed(one.key, one.size_bytes, "its backup is too old")
    for one in (*sets.store.list(EXPORTS), *sets.store.list(LANDING)):
        if one.key not in needed:
            yield Doomed(one.key, one.size_bytes, "no backup that is kept needs it")


def _old_log(sets: BackupSets, kept: Sequence[PlatformBackup]) -> Iterator[Doomed]:
    logs = [one.database.log for one in kept if one.database and one.database.log]
    if not logs:
        return
    first = min((segment_of(one.timeline, one.start_lsn) for one in logs), key=lambda s: s[8:])
    sizes = {one.key: one.size_bytes for one in sets.log.list()}
    for name in segments_before(sizes, first):
        yield Doomed(name, sizes[name], "it lies before the oldest base backup", is_log=True)
