"""The landing zone in a backup: delivered files, each content once, and where it lay (XC-7).

A folder in a bucket that keeps versions is listed, but not copied: what is deleted there comes back
from S3 itself. Whether it does keep them is asked with each backup and each
verification.
"""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from pipeline_platform.failures import NotFoundError, PlatformError
from pipeline_platform.lake.backup import spooled_file
from pipeline_platform.landing.claimed_file import FOLDERS, Folder
from pipeline_platform.landing.kept_file import KeptFile
from pipeline_platform.landing.objects import ObjectChangedError, ObjectStore, UnsafeNameError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.progress import tracked
from pipeline_platform.recovery.backup_sets import BackupSets, DeliveredFile, LandingPart
from pipeline_platform.services import Services

LANDING = "landing"
"""Prefix of the copies' keys, and of their lists."""
_LISTS = f"{LANDING}/lists"
_SETTLED: tuple[Folder, ...] = ("archive", "quarantine")
_FILES = TypeAdapter(list[DeliveredFile])
_Place = tuple[str, Folder, str]


def copy_landing(
    services: Services, sets: BackupSets, before: LandingPart | None, now: datetime
) -> LandingPart:
    """Copy what the backups lack of every pipeline's landing zone, and list what there is.

    `before` is the part of the backup before this one: what it has is not read again, and what the
    archive has lost since, though it keeps files for longer, stays listed.
    """
    known = {_place(one): one for one in listed(sets, before)} if before else {}
    kept = {one.key for one in sets.store.list(LANDING)}
    found: list[DeliveredFile] = []
    versioned = set[str]()
    for pipeline in tracked(list(runbooks()), "landing zones"):
        zone = services.landing(pipeline)
        # In the order in which files move, so that none slips through between two listings.
        for folder in FOLDERS:
            store, prefix = zone.store_of(folder)
            is_copied = not store.keeps_versions()
            if not is_copied:
                versioned.add(zone.location(folder))
            for item in store.list(prefix):
                place = (pipeline, folder, item.key.removeprefix(prefix))
                earlier = known.get(place)
                if (
                    earlier is not None
                    and folder in _SETTLED
                    and earlier.size_bytes == item.size_bytes
                    and (earlier.key in kept or not is_copied)
                ):
                    found.append(earlier)
                    continue
                copied = _copied(services, sets, store, prefix, place, kept, is_copied=is_copied)
                if copied is not None:
                    found.append(copied)
                    kept.add(copied.key)
    found += _lost_since(known.values(), found, now)
    text = gzip.compress(_FILES.dump_json(found), mtime=0)
    return LandingPart(
        file_count=len(found),
        size_bytes=sum({one.sha256: one.size_bytes for one in found}.values()),
        versioned=tuple(sorted(versioned)),
        files=_kept_list(sets, text, kept),
    )


def _kept_list(sets: BackupSets, text: bytes, kept: set[str]) -> KeptFile:
    """Keep a list under its checksum; one that did not change is kept once."""
    digest = KeptFile.digest(text)
    key = f"{_LISTS}/{digest}.json.gz"
    if key in kept:
        return KeptFile(key=key, sha256=digest, size_bytes=len(text))
    return KeptFile.put(sets.store, key, text, sha256=digest)


def listed(sets: BackupSets, part: LandingPart) -> list[DeliveredFile]:
    """Return the files of a backup; PermanentError if its list is damaged."""
    return _FILES.validate_json(gzip.decompress(part.files.read(sets.store)))


def copies_of(sets: BackupSets, part: LandingPart) -> list[DeliveredFile]:
    """Return one file for each content that the backup has a copy of."""
    files = {one.key: one for one in listed(sets, part) if not _is_versioned(one, part)}
    return list(files.values())


def landing_faults(sets: BackupSets, part: LandingPart) -> list[str]:
    """Read every copy and compare it; ask whether buckets that are not copied keep versions."""
    faults = []
    for file in tracked(copies_of(sets, part), "delivered files"):
        try:
            file.verify(sets.store)
        except PlatformError as error:
            faults.append(str(error))
    for location in part.versioned:
        if not ObjectStore.at(location, sets.settings).keeps_versions():
            faults.append(
                f"{location} is not copied, because its bucket kept versions, but it does not any "
                "more; switch versioning on, or make a new backup, which copies it"
            )
    return faults


def lost_deliveries(
    services: Services, sets: BackupSets, part: LandingPart, now: datetime
) -> list[DeliveredFile]:
    """Return the files of a backup whose content lies nowhere now, though it should.

    The archive forgets what is old, quarantine what is resolved: these are not lost.
    """
    lost = []
    for pipeline, runbook in runbooks().items():
        mine = [one for one in listed(sets, part) if one.pipeline == pipeline]
        if not mine:
            continue
        present = _contents(services, pipeline)
        with services.database.connection() as connection:
            rows = connection.execute(
                "SELECT file_sha256, state FROM quarantined_files WHERE pipeline = %s", (pipeline,)
            ).fetchall()
        resolved = {sha256 for sha256, state in rows if state != "HELD"}
        oldest = now - timedelta(days=runbook.rulings.archive_kept_days)
        lost += [
            one
            for one in mine
            if one.content not in present
            and one.arrived_at > oldest
            and not (one.folder == "quarantine" and one.content in resolved)
        ]
    return lost


def restore_landing(
    services: Services, sets: BackupSets, part: LandingPart, now: datetime
) -> tuple[list[DeliveredFile], list[DeliveredFile]]:
    """Put lost files back to where they lay; return these, and those that can't be had again.

    What is there stays as it is. Where a bucket keeps versions the deletion is undone; a file of
    which it has no version left, or over which another one stands, can't be had again. Raises
    PermanentError for a copy that is damaged.
    """
    put_back: list[DeliveredFile] = []
    gone: list[DeliveredFile] = []
    with spooled_file(services.settings) as spooled:
        for file in tracked(lost_deliveries(services, sets, part, now), "delivered files"):
            store, prefix = services.landing(file.pipeline).store_of(file.folder)
            is_back = True
            if _is_versioned(file, part):
                is_back = store.bring_back(prefix + file.name, file.sha256)
            else:
                file.fetch(sets.store, spooled)
                store.put(prefix + file.name, spooled, arrived_at=file.arrived_at)
            (put_back if is_back else gone).append(file)
    return put_back, gone


def _copied(
    services: Services,
    sets: BackupSets,
    store: ObjectStore,
    prefix: str,
    place: _Place,
    kept: set[str],
    *,
    is_copied: bool,
) -> DeliveredFile | None:
    """Read a file and keep its content; None if it was moved meanwhile, or can't be claimed."""
    pipeline, folder, name = place
    try:
        with spooled_file(services.settings) as spooled:
            arrived_at = store.arrived_at(prefix + name)
            sha256 = store.download(prefix + name, spooled)
            key = f"{LANDING}/{pipeline}/{sha256}"
            if is_copied and key not in kept:
                KeptFile.put(sets.store, key, spooled, sha256=sha256)
            size = spooled.stat().st_size
    except (NotFoundError, UnsafeNameError, ObjectChangedError):
        return None
    return DeliveredFile(
        key=key,
        sha256=sha256,
        size_bytes=size,
        pipeline=pipeline,
        folder=folder,
        name=name,
        arrived_at=arrived_at,
    )


def _lost_since(
    before: Iterable[DeliveredFile], found: Sequence[DeliveredFile], now: datetime
) -> Iterator[DeliveredFile]:
    """Yield archived files of the backup before that lie nowhere now and are not old enough."""
    present = {(one.pipeline, one.sha256) for one in found}
    for one in before:
        runbook = runbooks().get(one.pipeline)
        if runbook is None or one.folder != "archive" or (one.pipeline, one.sha256) in present:
            continue
        if now - one.arrived_at < timedelta(days=runbook.rulings.archive_kept_days):
            yield one


def _contents(services: Services, pipeline: str) -> set[str]:
    """Return the hashes of all that lies in a landing zone; of `incoming/` the files are read."""
    zone = services.landing(pipeline)
    found = {one.key.split("/")[1] for one in zone.archived()}
    for folder in ("processing", "quarantine"):
        found |= {one.key.split("/")[0] for one in zone.list(folder)}
    store, prefix = zone.store_of("incoming")
    for item in zone.list("incoming"):
        try:
            found.add(store.sha256(prefix + item.key))
        except (NotFoundError, UnsafeNameError, ObjectChangedError):
            continue
    return found


def _is_versioned(file: DeliveredFile, part: LandingPart) -> bool:
    tail = f"/{file.pipeline}/{file.folder}"
    plain = f"/{file.pipeline}"
    return any(
        one.endswith(tail) or (file.folder == "archive" and one.endswith(plain))
        for one in part.versioned
    )


def _place(file: DeliveredFile) -> _Place:
    return (file.pipeline, file.folder, file.name)
