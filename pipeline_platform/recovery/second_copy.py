"""A copy of the backups in a second place, in another region for instance (SA-93).

Nothing is removed there unless that is asked for, so that what happens to the first place does not
happen to the second. Manifests are copied last: half a backup is none, there as here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline_platform.failures import AuditFailedError, NotFoundError
from pipeline_platform.lake.backup import spooled_file
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.recovery.backup_sets import MANIFEST, BackupSets
from pipeline_platform.settings import Settings

LOG = "wal"


@dataclass(frozen=True)
class CopiedFile:
    """A file of the backups that the second place lacked."""

    key: str
    size_bytes: int


def second_settings(settings: Settings) -> Settings:
    """Return the settings of a platform whose backups lie in the second place.

    Raises NotFoundError where none is set.
    """
    if not settings.second_backups_location:
        raise NotFoundError(
            "There is no second place for backups; set PLATFORM_SECOND_BACKUPS_LOCATION to another "
            "disk or to s3://bucket/prefix."
        )
    region = settings.second_backups_region or settings.s3_region
    return settings.model_copy(
        update={"backups_location": settings.second_backups_location, "s3_region": region}
    )


def copy_backups(settings: Settings, *, dry_run: bool) -> Iterator[CopiedFile]:
    """Copy each file that the second place lacks, and yield it; with `dry_run` only name it.

    What was written is read again and compared by SHA-256: AuditFailedError if it differs.
    """
    other = second_settings(settings)
    target = ObjectStore.at(other.backups_location, other)
    known = {one.key: one.size_bytes for one in target.list()}
    sets = BackupSets(settings)
    missing = [
        (store, one.key, key, one.size_bytes)
        for store, prefix in _stores(sets)
        for one in store.list()
        if known.get(key := f"{prefix}{one.key}") != one.size_bytes
    ]
    missing.sort(key=lambda found: (found[2].endswith(MANIFEST), found[2]))
    with spooled_file(settings) as path:
        for store, source, key, size in missing:
            if not dry_run:
                sha256 = store.download(source, path)
                target.put(key, path)
                _require_same(target, key, sha256)
            yield CopiedFile(key, size)


def _stores(sets: BackupSets) -> list[tuple[ObjectStore, str]]:
    """Return what is copied; the log is a store of its own where it does not lie below the rest."""
    inside = f"{sets.settings.backups_location.rstrip('/')}/{LOG}"
    log = [] if sets.log_location == inside else [(sets.log, f"{LOG}/")]
    return [(sets.store, ""), *log]


def _require_same(target: ObjectStore, key: str, sha256: str) -> None:
    if target.sha256(key) != sha256:
        target.delete(key)
        raise AuditFailedError(
            f"{target.location}/{key} is not what was copied there, so it was removed; "
            "run `pipeline-platform backup copy` again."
        )
