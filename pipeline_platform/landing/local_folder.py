"""Objects in a local folder: nothing is followed out of it, nothing is visible half-written.

obstore's own local store is not used: it reads and writes through links that leave its root, one
file name with a tab makes its whole listing fail, and it does not force what it wrote to the disk
(`benchmarks/landing.py` compares the speed).
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import time
from uuid import uuid4

from pipeline_platform.failures import NotFoundError, UnavailableError
from pipeline_platform.landing.contained_folder import ContainedFolder, parts_of
from pipeline_platform.landing.keys import printable
from pipeline_platform.landing.stored_object import (
    CHUNK_BYTES,
    Backend,
    ObjectChangedError,
    StoredObject,
    Taken,
)

PARTIAL = ".partial"
"""Holds what is being written, until a rename makes it visible at its place."""

RELEASED = ".released"
"""Holds what a claim took out of its folder, until its copy is safe; then it is removed."""

ABANDONED_SECONDS = 24 * 3600
"""A partial file that nobody touched for so long belongs to a killed process."""

_PUBLISH_ATTEMPTS = 20
_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}
"""Why a file can't get a second name: another file system, or one without such names."""


class LocalFolder:
    """A `Backend` over one folder, which is made on first use."""

    def __init__(self, root: Path) -> None:
        self._within = ContainedFolder(root)
        self.location = str(root)

    def keeps_versions(self) -> bool:
        """Tell that a folder keeps what it holds, and nothing else."""
        return False

    def bring_back(self, key: str, sha256: str) -> bool:  # noqa: ARG002
        """Bring nothing back: a folder has no versions."""
        return False

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield everything below a prefix that is not a folder; links are named, not followed."""
        top = tuple(part for part in prefix.split("/") if part)
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            for name, found in self._within.entries(folder, is_top=folder == top):
                parts = (*folder, name)
                if stat.S_ISDIR(found.st_mode):
                    if parts[0] not in {PARTIAL, RELEASED} or top[:1] == parts[:1]:
                        waiting.append(parts)
                else:
                    yield _described("/".join(parts), found)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield (key now, key before) of files that a killed claim had taken out."""
        for found in list(self.list(RELEASED)):
            yield found.key, found.key.split("/", 2)[2]

    def tidy(self) -> None:
        """Remove partial files and empty folders of processes that were killed a day ago."""
        for name, found in list(self._within.entries((PARTIAL,))):
            if time() - found.st_ctime > ABANDONED_SECONDS:
                with suppress(FileNotFoundError), self._within.folder((PARTIAL,)) as folder:
                    os.unlink(name, dir_fd=folder)
        for token, found in list(self._within.entries((RELEASED,))):
            if time() - found.st_ctime > ABANDONED_SECONDS:
                self._within.remove_empty_tree((RELEASED, token))

    def head(self, key: str) -> StoredObject:
        """Describe one file, or a link itself; raise NotFoundError."""
        *folder, name = parts_of(key)
        with self._within.failures(key), self._within.folder(folder) as opened:
            found = os.stat(name, dir_fd=opened, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise NotFoundError(f"{printable(key)} in {self.location} is a folder, not a file.")
        return _described(key, found)

    def arrived_at(self, key: str) -> datetime:
        """Return the time of modification, which a file keeps wherever it is moved to."""
        return self.head(key).modified_at

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield the content in pieces; raise ObjectChangedError if it changes meanwhile."""
        with self._within.failures(key), self._within.file(key) as (opened, before):
            yield from _read(opened)
            self._check_unchanged(key, opened, before)

    def write(self, key: str, chunks: Iterable[bytes], arrived_at: datetime | None = None) -> None:
        """Write to a partial file, force it to the disk, rename it into place."""
        modified_ns = None if arrived_at is None else round(arrived_at.timestamp() * 10**6) * 1000
        with self._within.failures(key), self._partial() as partial:
            self._fill(partial, chunks, modified_ns)
            self._publish(partial, key)

    def copy_from(
        self, source: Backend, source_key: str, key: str, *, is_move: bool = False
    ) -> bool:
        """Move a file of this file system by a second name; all else is copied by reading it.

        The content was forced to the disk when it was written; nothing is read, so nothing is lost.
        """
        if not is_move or not isinstance(source, LocalFolder):
            return False
        *folder, name = parts_of(source_key)
        with (
            source._within.failures(source_key),
            source._within.file(source_key) as (_, before),
            source._within.folder(folder) as origin,
            self._partial() as partial,
        ):
            with self._within.folder((PARTIAL,), create=True, is_durable=False) as target:
                try:
                    os.link(
                        name, partial, src_dir_fd=origin, dst_dir_fd=target, follow_symlinks=False
                    )
                except OSError as error:
                    if error.errno in _UNLINKABLE:
                        return False
                    raise
                if os.stat(partial, dir_fd=target, follow_symlinks=False).st_ino != before.st_ino:
                    raise source._changed(source_key)
            self._publish(partial, key)
        return True

    def local_path(self, key: str) -> Path:
        """Return a regular file's path; a link, pipe or device raises UnsafeNameError."""
        with self._within.failures(key), self._within.file(key):
            return self._within.root / key

    def take(self, key: str, destination: Callable[[str], str]) -> Taken:
        """Copy and hash, take the file out by a rename (one wins), show the copy, forget it.

        Killed before the rename, nothing happened; killed after it, `leftovers` has the file.
        """
        digest = hashlib.sha256()
        with (
            self._within.failures(key),
            self._within.file(key) as (opened, before),
            self._partial() as partial,
        ):
            self._fill(partial, _hashed(_read(opened), digest.update), before.st_mtime_ns)
            self._check_unchanged(key, opened, before)
            target = destination(digest.hexdigest())
            released = self._release(key, before)
            try:
                self._publish(partial, target)
            except Exception:
                self._put_back(released, key)
                raise
            self.delete(released)
            self._within.remove_empty_folders(released)
        arrived_at, etag = _instant(before.st_mtime_ns), self.head(target).etag
        return Taken(target, digest.hexdigest(), before.st_size, arrived_at, etag)

    def describe(self, key: str) -> str | None:
        """Say what stands at the key if it is no regular file; links are told, not followed."""
        *folder, name = parts_of(key)
        with self._within.failures(key), self._within.folder(folder) as opened:
            mode = os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return f"symbolic link to {printable(os.readlink(name, dir_fd=opened))}"
        return None if stat.S_ISREG(mode) else "named pipe, socket or device"

    def delete(self, key: str) -> None:
        """Remove a file or a link itself; one that is not there is no error.

        Not forced to the disk: what comes back after a power cut is moved once more.
        """
        *folder, name = parts_of(key)
        with (
            suppress(NotFoundError),
            self._within.failures(key),
            self._within.folder(folder) as opened,
        ):
            os.unlink(name, dir_fd=opened)

    def remove_empty_folders(self, key: str) -> None:
        """Remove the folders that a file of this key left empty, but the topmost."""
        self._within.remove_empty_folders(key)

    @contextmanager
    def _partial(self) -> Iterator[str]:
        """Hand out the name of a new partial file, and remove it if it is still there."""
        name = uuid4().hex
        try:
            yield name
        finally:
            self.delete(f"{PARTIAL}/{name}")

    def _fill(self, partial: str, chunks: Iterable[bytes], modified_ns: int | None) -> None:
        with self._within.folder((PARTIAL,), create=True, is_durable=False) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            opened = os.open(partial, flags, 0o640, dir_fd=folder)
        with os.fdopen(opened, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            if modified_ns is not None:
                os.utime(file.fileno(), ns=(modified_ns, modified_ns))
            os.fsync(file.fileno())

    def _publish(self, partial: str, key: str) -> None:
        """Rename a partial file into place, durably; make its folders, however often they go."""
        *folder, name = parts_of(key)
        for _ in range(_PUBLISH_ATTEMPTS):
            with (
                suppress(FileNotFoundError),
                self._within.folder((PARTIAL,)) as source,
                self._within.folder(folder, create=True) as target,
            ):
                os.rename(partial, name, src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
                return
        raise UnavailableError(
            f"{printable(key)} could not be written in {self.location}: its folder keeps "
            "disappearing; stop what removes it and try again."
        )

    def _release(self, key: str, before: os.stat_result) -> str:
        """Take a file out by a rename; put it back if it is not the one that was read."""
        released = f"{RELEASED}/{uuid4().hex}/{_without_release(key)}"
        *folder, name = parts_of(key)
        try:
            with (
                self._within.folder(folder) as source,
                self._within.folder(
                    parts_of(released)[:-1], create=True, is_durable=False
                ) as target,
            ):
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                after = os.stat(name, dir_fd=target, follow_symlinks=False)
        except OSError:
            self._within.remove_empty_folders(released)
            raise
        if _identity(after) != _identity(before):
            self._put_back(released, key)
            raise self._changed(key)
        return released

    def _put_back(self, released: str, key: str) -> None:
        """Return a file to its place, unless its sender has put a newer one there."""
        *source_folder, name = parts_of(released)
        with (
            suppress(FileNotFoundError),
            self._within.folder(source_folder) as source,
            self._within.folder(parts_of(key)[:-1], create=True) as target,
        ):
            with suppress(FileExistsError):
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            os.unlink(name, dir_fd=source)
        self._within.remove_empty_folders(released)

    def _check_unchanged(self, key: str, opened: int, before: os.stat_result) -> None:
        after = os.fstat(opened)
        if (_identity(after), after.st_ctime_ns) != (_identity(before), before.st_ctime_ns):
            raise self._changed(key)

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(
            f"{printable(key)} in {self.location} changed while it was read; it stays where it "
            "is until its sender has finished it."
        )


def _without_release(key: str) -> str:
    """Return the key that a taken file had, also if it is taken for a second time."""
    return key.split("/", 2)[2] if key.startswith(f"{RELEASED}/") else key


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _instant(nanoseconds: int) -> datetime:
    """Return an instant to the microsecond, without the rounding of a float."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _described(key: str, found: os.stat_result) -> StoredObject:
    return StoredObject(
        key=key,
        size_bytes=found.st_size,
        modified_at=_instant(found.st_mtime_ns),
        etag=f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}",
        placed_at=_instant(found.st_ctime_ns),
    )


def _read(opened: int) -> Iterator[bytes]:
    while chunk := os.read(opened, CHUNK_BYTES):
        yield chunk


def _hashed(chunks: Iterable[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk
