"""The landing zone of one pipeline: incoming -> processing -> archive, or quarantine (SA-20).

An object is known by the SHA-256 of its content. Claimed, it lies in `processing/<sha256>/<name>`,
so that a name that comes again with other content is another object and the same content under
two names is two. Every move copies (within a file system: gives a second name), verifies what was
copied and only then removes; every method can be repeated
after a kill at any point, and ends in the same place.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_platform.failures import InvalidSettingError, NotFoundError, PermanentError
from pipeline_platform.landing.claimed_file import FOLDERS, ClaimedFile, Folder, FolderState
from pipeline_platform.landing.keys import (
    REASON_SUFFIX,
    base_name,
    check_claimable,
    check_key,
    printable,
    stored_name,
    unclaimable_reason,
)
from pipeline_platform.landing.objects import (
    DamagedObjectError,
    ObjectChangedError,
    ObjectStore,
    StoredObject,
    UnsafeNameError,
    temporary_folder,
)
from pipeline_platform.landing.unclaimable import put_away, write_reason
from pipeline_platform.settings import Settings

__all__ = [
    "ClaimedFile",
    "DamagedObjectError",
    "Folder",
    "FolderState",
    "LandingZone",
    "ObjectChangedError",
    "StoredObject",
    "UnsafeNameError",
]

Listing = list[StoredObject]
ClaimedFiles = list[ClaimedFile]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIPELINE = re.compile(r"[a-z][a-z0-9_]*")


class LandingZone:
    """The four folders of one pipeline; raw and archive may be local or in S3, also mixed."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        if _PIPELINE.fullmatch(pipeline) is None:
            raise InvalidSettingError(
                f"{printable(pipeline)} is no pipeline's name; use lower case, digits and '_'."
            )
        self._settings = settings
        self.pipeline = pipeline

    @cached_property
    def _raw(self) -> ObjectStore:
        return ObjectStore.at(
            f"{self._settings.raw_location.rstrip('/')}/{self.pipeline}", self._settings
        )

    @cached_property
    def _archive(self) -> ObjectStore:
        return ObjectStore.at(
            f"{self._settings.archive_location.rstrip('/')}/{self.pipeline}", self._settings
        )

    def _place(self, folder: Folder) -> tuple[ObjectStore, str]:
        """Return a folder's store and the prefix of its keys there."""
        if folder not in FOLDERS:
            raise NotFoundError(
                f"There is no folder {folder!r} in a landing zone; use {', '.join(FOLDERS)}."
            )
        if folder != "archive":
            return self._raw, f"{folder}/"
        shares_root = self._archive.location == self._raw.location
        return self._archive, "archive/" if shares_root else ""

    def store_of(self, folder: Folder) -> tuple[ObjectStore, str]:
        """Return a folder's store and the prefix of its keys there, for who copies it whole."""
        return self._place(folder)

    def location(self, folder: Folder) -> str:
        """Return the local path or `s3://` address of a folder."""
        store, prefix = self._place(folder)
        return f"{store.location}/{prefix}".rstrip("/")

    def list(self, folder: Folder, *, tail: int | None = None) -> Listing:
        """Return a folder's objects, oldest first; `tail` = only the newest n (SA-17 to SA-19).

        Keys are relative to the folder. `modified_at` is the file's own in `incoming/`; in the
        others it says when the object came there. Reasons beside quarantined objects are left out.
        """
        found = sorted(self._objects(folder), key=lambda item: (item.modified_at, item.key))
        return found if tail is None else found[len(found) - min(tail, len(found)) :]

    def observe(self, folder: Folder) -> FolderState:
        """Count a folder's objects and bytes, and find its oldest."""
        count, total, oldest = 0, 0, None
        for found in self._objects(folder):
            count, total = count + 1, total + found.size_bytes
            oldest = found.modified_at if oldest is None else min(oldest, found.modified_at)
        return FolderState(count, total, oldest)

    def present(self, keys: Sequence[str]) -> Listing:
        """Return those of the given objects that wait in `incoming/` now (for notifications).

        Hostile keys can't be looked up one by one; a listing of the folder finds them.
        """
        found = []
        for key in keys:
            if unclaimable_reason(key) is None:
                try:
                    waiting = self._raw.head(f"incoming/{key}")
                except (NotFoundError, UnsafeNameError):
                    continue
                found.append(replace(waiting, key=key))
        return found

    def put(self, name: str, data: bytes | Path) -> str:
        """Drop a file into `incoming/` and return its key; a waiting one of that name is replaced.

        Raises UnsafeNameError for a name that could not be claimed.
        """
        check_claimable(name)
        self._raw.put(f"incoming/{name}", data)
        return name

    def claim(self, key: str) -> ClaimedFile:
        """Move a waiting object to `processing/<sha256>/<name>`; of several who try, one gets it.

        Raises UnsafeNameError (use `quarantine_unclaimable`), ObjectChangedError (its sender
        still writes; nothing moved), NotFoundError (gone, or another process was first).
        """
        check_claimable(key)
        return self._take(f"incoming/{key}", key)

    def place(self, name: str, data: bytes, arrived_at: datetime) -> ClaimedFile:
        """Put content that no sender delivered as a file (a stream's batch) into `processing/`.

        Its name may have folders. Placing the same again changes nothing. Raises UnsafeNameError.
        """
        check_claimable(name)
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"{sha256}/{name}"
        self._raw.put(f"processing/{key}", data, arrived_at=arrived_at)
        return ClaimedFile(name, sha256, len(data), arrived_at, key)

    def give_up(self, file: ClaimedFile) -> None:
        """Remove a placed file from `processing/`; its stream still has what it holds."""
        self._raw.delete(f"processing/{file.key}")
        self._raw.remove_empty_folders(f"processing/{file.key}")

    def recover(self) -> ClaimedFiles:
        """Return what lies in `processing/`, after finishing claims that were killed.

        Files of runs that are still alive are among them: run it where no other run works on this
        zone, or ask the register (`etl_processing_log`) whose a file is.
        """
        for key, before in self._raw.leftovers():
            self._finish(key, before)
        self._raw.tidy()
        self._archive.tidy()
        return self.claimed()

    def claimed(self) -> ClaimedFiles:
        """Return what lies in `processing/`, whoever claimed it; nothing is touched."""
        found = []
        for item in self.list("processing"):
            sha256, _, name = item.key.partition("/")
            if _SHA256.fullmatch(sha256) and unclaimable_reason(name) is None:
                arrived_at = self._raw.arrived_at(f"processing/{item.key}")
                found.append(ClaimedFile(name, sha256, item.size_bytes, arrived_at, item.key))
        return found

    @contextmanager
    def local_file(self, file: ClaimedFile) -> Iterator[Path]:
        """Hand out a claimed file, verified, to be read; a copy of S3's is removed afterwards.

        Raises DamagedObjectError if the content is not the claimed one, NotFoundError.
        """
        key = f"processing/{file.key}"
        path = self._raw.local_path(key)
        if path is not None:
            if self._raw.head(key).etag != file.etag:
                _check_claimed(file, self._raw.sha256(key))
            yield path
            return
        folder = temporary_folder(self._settings) / self.pipeline
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{file.sha256[:12]}-", dir=folder) as temporary:
            path = Path(temporary) / base_name(file.name)
            _check_claimed(file, self._raw.download(key, path))
            yield path

    def archive(self, file: ClaimedFile) -> str:
        """Move a claimed file to `archive/<sha[:2]>/<sha>/<name>`; return its location."""
        return self._settle(file, "archive", _archive_key(file))

    def quarantine(self, file: ClaimedFile, reason: str) -> str:
        """Move a claimed file to `quarantine/<sha>/<name>`, its reason beside it; return where."""
        write_reason(self._raw, file.key, reason, original=file.name)
        return self._settle(file, "quarantine", file.key)

    def quarantine_unclaimable(self, key: str, reason: str) -> str:
        """Put away an object of `incoming/` that can't be claimed, whatever its name; say where.

        It gets a safe name; reason and original name stand beside it. A link or device is
        replaced by a text that says what it was, and never followed.
        """
        return put_away(self._raw, f"incoming/{key}", key, reason)

    def restore(self, sha256: str, name: str | None = None) -> ClaimedFile:
        """Bring a file back to `processing/` to be processed again (replay).

        A quarantined file is moved, an archived one copied: the archive keeps what it has. Where
        the same content lies under several names, `name` chooses; else the first by name.
        """
        found = self.find(sha256, name)
        if found is None:
            raise NotFoundError(
                f"No file with SHA-256 {printable(sha256)} is in archive or quarantine of "
                f"{self.pipeline}; list them to find its hash."
            )
        folder, item = found
        store, prefix = self._place(folder)
        name = stored_name(item.key, sha256)
        key = f"{sha256}/{name}"
        arrived_at = store.arrived_at(prefix + item.key)
        if folder != "processing":
            self._raw.receive(store, prefix + item.key, f"processing/{key}", sha256=sha256)
        if folder == "quarantine":
            store.delete(prefix + item.key)
            store.delete(prefix + item.key + REASON_SUFFIX)
            store.remove_empty_folders(prefix + item.key)
        return ClaimedFile(name, sha256, item.size_bytes, arrived_at, key)

    def archived(self) -> Iterator[StoredObject]:
        """Yield the archive's objects in no order; `modified_at` says when each came there."""
        yield from self._objects("archive")

    def forget_archived(self, key: str) -> None:
        """Delete an object of the archive for good; one that is gone already is no error."""
        store, prefix = self._place("archive")
        check_key(prefix + key)
        store.delete(prefix + key)
        store.remove_empty_folders(prefix + key)

    def forget_quarantined(self, sha256: str, before: datetime) -> int:
        """Delete a content that came to quarantine before an instant, with its reasons, for good.

        Returns how many objects went; what is gone already is no error.
        """
        store, prefix = self._place("quarantine")
        found = [
            one
            for one in store.list(f"{prefix}{sha256}")
            if (one.placed_at or one.modified_at) < before
        ]
        for one in found:
            store.delete(one.key)
            store.remove_empty_folders(one.key)
        return len(found)

    def hand_back(self, sha256: str, name: str) -> str:
        """Put a settled file back into `incoming/`, as if it had never been claimed; repeatable.

        Raises PermanentError if another content of that name waits there, NotFoundError if the
        file lies nowhere.
        """
        key = f"incoming/{base_name(name)}"
        is_there = self._raw.exists(key)
        if is_there and self._raw.sha256(key) != sha256:
            raise PermanentError(
                f"Another file named {printable(base_name(name))} waits in incoming/ of "
                f"{self.pipeline}; let it be taken in first, or move it away."
            )
        found = self.find(sha256)
        if found is None and not is_there:
            raise NotFoundError(
                f"{printable(name)} is neither in archive nor in quarantine of {self.pipeline}."
            )
        if found is not None:
            self._leave(key, sha256, *found)
        return f"{self._raw.location}/{key}"

    def forget(self, sha256: str) -> None:
        """Remove a settled file whose content can be had again from where it came (a stream)."""
        found = self.find(sha256)
        if found is not None:
            self._leave(None, sha256, *found)

    def _leave(self, key: str | None, sha256: str, folder: Folder, item: StoredObject) -> None:
        """Copy an object of a folder to `key`, if any, and remove it and its reason."""
        store, prefix = self._place(folder)
        if key is not None:
            self._raw.receive(store, prefix + item.key, key, sha256=sha256)
        store.delete(prefix + item.key)
        store.delete(prefix + item.key + REASON_SUFFIX)
        store.remove_empty_folders(prefix + item.key)

    def find(self, sha256: str, name: str | None = None) -> tuple[Folder, StoredObject] | None:
        """Return where a content lies: in processing, else archive, else quarantine."""
        if _SHA256.fullmatch(sha256) is None:
            return None
        places: tuple[tuple[Folder, str], ...] = (
            ("processing", sha256),
            ("archive", f"{sha256[:2]}/{sha256}"),
            ("quarantine", sha256),
        )
        for folder, below in places:
            same = [
                item
                for item in self._objects(folder, below)
                if name is None or stored_name(item.key, sha256) == name
            ]
            if same:
                return folder, min(same, key=lambda item: item.key)
        return None

    def _objects(self, folder: Folder, below: str = "") -> Iterator[StoredObject]:
        store, prefix = self._place(folder)
        for found in store.list(prefix + below):
            if folder == "quarantine" and found.key.endswith(REASON_SUFFIX):
                continue
            came_at = found.modified_at if folder == "incoming" else found.placed_at
            key = found.key.removeprefix(prefix)
            yield replace(found, key=key, modified_at=came_at or found.modified_at)

    def _take(self, source_key: str, key: str) -> ClaimedFile:
        name = base_name(key)
        taken = self._raw.take(source_key, lambda sha256: f"processing/{sha256}/{name}")
        return ClaimedFile(
            name,
            taken.sha256,
            taken.size_bytes,
            taken.modified_at,
            f"{taken.sha256}/{name}",
            taken.etag,
        )

    def _finish(self, key: str, before: str) -> None:
        """Finish the move of an object that a killed process had taken out of `incoming/`."""
        original = before.removeprefix("incoming/")
        try:
            try:
                check_claimable(original)
                self._take(key, original)
            except UnsafeNameError as error:
                put_away(self._raw, key, original, str(error), keep_reason=True)
        except NotFoundError:
            return
        self._raw.remove_empty_folders(key)

    def _settle(self, file: ClaimedFile, folder: Folder, key: str) -> str:
        """Move a claimed file on: copy, verify, remove; done before is done.

        What is damaged on its way into the archive is refused there, and can go to quarantine.
        """
        verified = file.sha256 if folder == "archive" else None
        store, prefix = self._place(folder)
        source_key, target_key = f"processing/{file.key}", prefix + key
        check_key(target_key)
        try:
            store.receive(self._raw, source_key, target_key, sha256=verified, is_move=True)
        except NotFoundError:
            if not store.exists(target_key):
                raise
        self._raw.delete(source_key)
        self._raw.remove_empty_folders(source_key)
        return f"{store.location}/{target_key}"


def _check_claimed(file: ClaimedFile, sha256: str) -> None:
    if sha256 != file.sha256:
        raise DamagedObjectError(
            f"The content of {printable(file.name)} in processing/ is no longer the one "
            f"that was claimed (SHA-256 {sha256[:12]}… instead of {file.sha256[:12]}…); "
            "ask for the file again."
        )


def _archive_key(file: ClaimedFile) -> str:
    return f"{file.sha256[:2]}/{file.sha256}/{file.name}"
