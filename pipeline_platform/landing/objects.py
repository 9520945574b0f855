"""One interface over a local folder and an S3 prefix: list, read, write, move with a hash.

The landing zone is built on it. Only names that are safe (`keys.unsafe_reason`) can be read or
written; `list`, `take` and `describe` also work on hostile ones, so that these can be put away.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from pipeline_platform.failures import InvalidSettingError, NotFoundError
from pipeline_platform.landing.keys import UnsafeNameError, check_key, printable
from pipeline_platform.landing.local_folder import LocalFolder
from pipeline_platform.landing.s3_bucket import S3Bucket
from pipeline_platform.landing.stored_object import (
    CHUNK_BYTES,
    ArchivedObjectError,
    Backend,
    DamagedObjectError,
    ObjectChangedError,
    StoredObject,
    Taken,
)
from pipeline_platform.settings import Settings

__all__ = [
    "ArchivedObjectError",
    "DamagedObjectError",
    "ObjectChangedError",
    "ObjectStore",
    "StoredObject",
    "Taken",
    "UnsafeNameError",
    "temporary_folder",
]

_S3_LOCATION = re.compile(r"s3://(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?", re.DOTALL)


class ObjectStore:
    """Objects below one location (SA-1); memory is bounded whatever their size.

    Errors: NotFoundError (no such object), UnsafeNameError (a key or link that leaves the
    location), ObjectChangedError, UnavailableError (try again), InvalidSettingError (no bucket,
    no permission), ArchivedObjectError (in a storage class that can't be read at once).
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @classmethod
    def at(cls, location: str, settings: Settings) -> "ObjectStore":
        """Return the store at a local folder or `s3://bucket/prefix`; nothing connects yet."""
        if "://" not in location:
            return cls(LocalFolder(Path(location).expanduser().absolute()))
        matched = _S3_LOCATION.fullmatch(location)
        prefix = (matched["prefix"] or "").strip("/") if matched else ""
        if matched is None or "//" in prefix:
            raise InvalidSettingError(
                f"The location {printable(location)} is neither a local folder nor "
                "s3://bucket/prefix; correct the PLATFORM_*_LOCATION setting."
            )
        return cls(
            S3Bucket(
                matched["bucket"],
                prefix,
                endpoint=settings.s3_endpoint,
                region=settings.s3_region,
                spool=temporary_folder(settings),
            )
        )

    @property
    def location(self) -> str:
        """The folder or `s3://` address that all keys are relative to."""
        return self._backend.location

    def keeps_versions(self) -> bool:
        """Tell whether what is deleted or overwritten here can be had again from the store."""
        return self._backend.keeps_versions()

    def bring_back(self, key: str, sha256: str) -> bool:
        """Undo an object's deletion from the store's versions; False if its content was another.

        False too where there is no such version, or an object stands there now.
        """
        check_key(key)
        return self._backend.bring_back(key, sha256)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all objects below a prefix, in no certain order, hostile names and links too."""
        return self._backend.list(prefix)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield (key now, key before) of objects that a killed `take` had in its hands."""
        return self._backend.leftovers()

    def tidy(self) -> None:
        """Remove what killed writers left more than a day ago and nobody can see."""
        self._backend.tidy()

    def head(self, key: str) -> StoredObject:
        """Describe one object; raise NotFoundError."""
        check_key(key)
        return self._backend.head(key)

    def exists(self, key: str) -> bool:
        """Say whether there is an object of this key."""
        try:
            self.head(key)
        except NotFoundError:
            return False
        return True

    def arrived_at(self, key: str) -> datetime:
        """Return when the object's content arrived (UTC), however often it was moved since."""
        check_key(key)
        return self._backend.arrived_at(key)

    def read(self, key: str) -> bytes:
        """Return the whole content; for small objects (`download` is for all others)."""
        check_key(key)
        return b"".join(self._backend.stream(key))

    def put(self, key: str, data: bytes | Path, *, arrived_at: datetime | None = None) -> None:
        """Write an object from bytes or a local file: whole or not at all, replacing another."""
        check_key(key)
        if isinstance(data, Path) and not data.is_file():
            raise NotFoundError(f"The file {printable(str(data))} to put does not exist.")
        chunks = [data] if isinstance(data, bytes) else _file_chunks(data)
        self._backend.write(key, chunks, arrived_at)

    def download(self, key: str, path: Path) -> str:
        """Write the content to a local file and return its SHA-256 in hexadecimal."""
        check_key(key)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in self._backend.stream(key):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def local_path(self, key: str) -> Path | None:
        """Return where an object lies as a plain file of this machine, if it does."""
        check_key(key)
        return self._backend.local_path(key)

    def sha256(self, key: str) -> str:
        """Read the content and return its SHA-256 in hexadecimal."""
        check_key(key)
        digest = hashlib.sha256()
        for chunk in self._backend.stream(key):
            digest.update(chunk)
        return digest.hexdigest()

    def copy(self, source_key: str, key: str) -> None:
        """Copy an object within this store."""
        self.receive(self, source_key, key)

    def receive(
        self,
        source: "ObjectStore",
        source_key: str,
        key: str,
        *,
        sha256: str | None = None,
        is_move: bool = False,
    ) -> None:
        """Copy an object of any store to here, and when it arrived; `is_move`: it is deleted next.

        Given a `sha256`, content that is read on the way is verified: DamagedObjectError leaves
        nothing here. Between two places in S3, S3 copies and its size is verified; a local file
        that moves within its file system is the same one under another name.
        """
        check_key(source_key)
        check_key(key)
        if self._backend.copy_from(source._backend, source_key, key, is_move=is_move):
            return
        chunks = source._backend.stream(source_key)
        verified = chunks if sha256 is None else _verified(chunks, sha256, source_key)
        self._backend.write(key, verified, source._backend.arrived_at(source_key))

    def take(self, key: str, destination: Callable[[str], str]) -> Taken:
        """Move an object to `destination(sha256 of its content)`; its key may be hostile.

        Of several who try, one gets it; the others raise NotFoundError or ObjectChangedError.
        """
        return self._backend.take(key, destination)

    def describe(self, key: str) -> str | None:
        """Say what stands at the key if it is no plain object (a link, a device)."""
        return self._backend.describe(key)

    def delete(self, key: str) -> None:
        """Remove an object, hostile names too; one that is not there is no error."""
        self._backend.delete(key)

    def remove_empty_folders(self, key: str) -> None:
        """Remove the folders that an object of this key left empty, but the topmost."""
        self._backend.remove_empty_folders(key)


def temporary_folder(settings: Settings) -> Path:
    """Return the local folder for temporary files; below home if the temp location is in S3."""
    if "://" in settings.temp_location:
        return settings.home / "temp" / "landing"
    return Path(settings.temp_location).expanduser().absolute() / "landing"


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _verified(chunks: Iterable[bytes], sha256: str, key: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise DamagedObjectError(
            f"The content of {printable(key)} is no longer the one that was claimed (SHA-256 "
            f"{digest.hexdigest()[:12]}… instead of {sha256[:12]}…); ask for the file again."
        )
