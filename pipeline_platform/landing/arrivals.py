"""What of a listing is new since the last look, in batches of bounded size; pure.

The cursor remembers every object that was given and still waits, by a fingerprint of key, size,
time and etag. One key or one instant would not do: S3 dates a large upload by its beginning and a
local move keeps the file's time, so objects appear that are older than what was given before;
and many share an instant. Whatever left the folder is forgotten, so the cursor is as long as the
folder, never as long as its history.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pipeline_platform.landing.stored_object import StoredObject

_VERSION = 1
_FINGERPRINT_BYTES = 12


@dataclass(frozen=True)
class Batch:
    """Objects for one run, oldest first."""

    objects: tuple[StoredObject, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys to claim."""
        return tuple(found.key for found in self.objects)

    @property
    def size_bytes(self) -> int:
        """How many bytes the run will have to read."""
        return sum(found.size_bytes for found in self.objects)

    @property
    def run_key(self) -> str:
        """A key from key, size, time and etag of each object: same objects, same key (SA-2)."""
        digest = hashlib.sha256()
        for found in sorted(self.objects, key=lambda item: item.key):
            digest.update(_fingerprint(found))
        return digest.hexdigest()[:40]


def next_arrivals(
    listing: Iterable[StoredObject],
    cursor: str | None,
    *,
    max_files: int,
    max_bytes: int,
    max_batches: int | None = None,
    settled_before: datetime | None = None,
) -> tuple[list[Batch], str]:
    """Return the objects not given yet as batches, and the cursor for the next look.

    No object is missed, and none is given twice while it waits unchanged; one that was written
    anew is given again. `max_batches` leaves the rest for the next look. `settled_before` (UTC)
    holds back objects modified at or after it, which their sender may still be writing. A cursor
    that can't be read counts as none: all that waits is given again, which claims can bear.
    """
    given = _given(cursor)
    waiting = {_fingerprint(found): found for found in listing}
    new = [
        found
        for fingerprint, found in waiting.items()
        if fingerprint not in given
        and (settled_before is None or found.modified_at < settled_before)
    ]
    handed_out = batches(new, max_files=max_files, max_bytes=max_bytes)[:max_batches]
    remembered = {fingerprint for fingerprint in waiting if fingerprint in given}
    remembered.update(_fingerprint(found) for batch in handed_out for found in batch.objects)
    return handed_out, _cursor(remembered, waiting)


def batches(objects: Iterable[StoredObject], *, max_files: int, max_bytes: int) -> list[Batch]:
    """Divide objects, oldest first, into batches within both limits.

    An object larger than `max_bytes` gets a batch of its own. Raises ValueError for limits below
    one.
    """
    if max_files < 1 or max_bytes < 1:
        raise ValueError("A batch must be allowed at least one file and one byte.")
    done: list[Batch] = []
    current: list[StoredObject] = []
    size = 0
    for found in sorted(objects, key=lambda item: (item.modified_at, item.key)):
        if current and (len(current) == max_files or size + found.size_bytes > max_bytes):
            done.append(Batch(tuple(current)))
            current, size = [], 0
        current.append(found)
        size += found.size_bytes
    if current:
        done.append(Batch(tuple(current)))
    return done


def _fingerprint(found: StoredObject) -> bytes:
    """Return 96 bits that differ for every key and for every writing of it."""
    seen = [found.key, found.size_bytes, found.modified_at.isoformat(), found.etag]
    return hashlib.sha256(json.dumps(seen).encode()).digest()[:_FINGERPRINT_BYTES]


def _cursor(remembered: set[bytes], waiting: dict[bytes, StoredObject]) -> str:
    newest = max((waiting[fingerprint].modified_at for fingerprint in remembered), default=None)
    return json.dumps(
        {
            "version": _VERSION,
            "last_modified_at": None if newest is None else newest.isoformat(),
            "given": base64.b64encode(b"".join(sorted(remembered))).decode(),
        }
    )


def _given(cursor: str | None) -> set[bytes]:
    if cursor is None:
        return set()
    try:
        read = json.loads(cursor)
        packed = base64.b64decode(read["given"], validate=True)
        is_known = read["version"] == _VERSION and len(packed) % _FINGERPRINT_BYTES == 0
    except (ValueError, TypeError, KeyError):
        return set()
    if not is_known:
        return set()
    return {
        packed[start : start + _FINGERPRINT_BYTES]
        for start in range(0, len(packed), _FINGERPRINT_BYTES)
    }
