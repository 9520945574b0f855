"""What the landing zone hands out: a claimed file, and the state of a folder."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Folder = Literal["incoming", "processing", "archive", "quarantine"]
FOLDERS: tuple[Folder, ...] = ("incoming", "processing", "archive", "quarantine")


@dataclass(frozen=True)
class ClaimedFile:
    """A file in `processing/`: it belongs to whoever claimed it, and its content is settled.

    `arrived_at` (UTC) is when it was put into `incoming/`; `key` is relative to `processing/`.
    While a local file has the `etag` that it was given when it was hashed, its content is verified.
    """

    name: str
    sha256: str
    size_bytes: int
    arrived_at: datetime
    key: str
    etag: str = field(default="", compare=False)


@dataclass(frozen=True)
class FolderState:
    """How many objects and bytes a folder holds, and since when the oldest is there (SA-17)."""

    object_count: int
    total_bytes: int
    oldest_modified_at: datetime | None
