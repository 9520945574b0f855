"""One object as a listing shows it, and what can go wrong with it while it is moved."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipeline_platform.failures import BadInputError, PermanentError, TransientError

CHUNK_BYTES = 1024 * 1024
"""Content is read and hashed in pieces of this size, whatever the size of the object."""


class ObjectChangedError(TransientError):
    """The object is being written, or was replaced, while it was read; nothing was moved."""


class ArchivedObjectError(PermanentError):
    """The object lies in a storage class that can't be read until somebody has it restored."""

    rule = "archived_object"


class DamagedObjectError(BadInputError):
    """The content is not the one that the object was claimed with (its SHA-256 differs)."""


@dataclass(frozen=True)
class StoredObject:
    """An object of a listing.

    `key` is relative to what was listed. `modified_at` (UTC) is the file's time of modification,
    or S3's. `etag` differs whenever the object was written anew; `placed_at` is when it came to
    its place, which differs from `modified_at` for a local file that was moved.
    """

    key: str
    size_bytes: int
    modified_at: datetime
    etag: str = ""
    placed_at: datetime | None = None


@dataclass(frozen=True)
class Taken:
    """What a store's `take` moved: the content's hash and size, when it arrived, where it is.

    `etag` is that of the file that was written while its content was hashed, '' in a bucket.
    """

    key: str
    sha256: str
    size_bytes: int
    modified_at: datetime
    etag: str = ""


class Backend(Protocol):
    """What a local folder and a bucket must both be able to do, with keys exactly as stored."""

    location: str

    def keeps_versions(self) -> bool:
        """Tell whether what is deleted or overwritten can be had again from the backend itself."""
        ...

    def bring_back(self, key: str, sha256: str) -> bool:
        """Undo a deletion if the last content was this one, from the backend's own versions."""
        ...

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a prefix, links and devices too, keys relative to the root."""
        ...

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield (key now, key before) of objects that a killed `take` had in its hands."""
        ...

    def tidy(self) -> None:
        """Remove what killed writers left long ago and nobody can see."""
        ...

    def head(self, key: str) -> StoredObject:
        """Describe one object; raise NotFoundError."""
        ...

    def arrived_at(self, key: str) -> datetime:
        """Return the `modified_at` that the object had when it was taken from where it arrived."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield the content in pieces; raise ObjectChangedError if it changes meanwhile."""
        ...

    def write(self, key: str, chunks: Iterable[bytes], arrived_at: datetime | None = None) -> None:
        """Write an object whole or not at all; an error of `chunks` leaves nothing behind."""
        ...

    def copy_from(
        self, source: "Backend", source_key: str, key: str, *, is_move: bool = False
    ) -> bool:
        """Copy without reading, if both sides can; False if they can't.

        With `is_move` the source is deleted next, so that both may be one for a moment.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Return where an object lies as a plain file of this machine, if it does."""
        ...

    def take(self, key: str, destination: Callable[[str], str]) -> Taken:
        """Move an object to `destination(sha256)`; of several who try, one gets it."""
        ...

    def describe(self, key: str) -> str | None:
        """Say what stands at the key if it is no plain object (a link, a device)."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def remove_empty_folders(self, key: str) -> None:
        """Remove the folders that an object of this key left empty, but the topmost."""
        ...
