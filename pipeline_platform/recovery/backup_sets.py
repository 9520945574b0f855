"""What a backup of the platform is, and which there are.

Below the backups' location: `wal/` holds the database's log, `database/<id>/` a copy of the
database, `lake/` the lake's files, each once, whichever backups need it; `sets/<id>/manifest.json`
says what a backup consists of. It is written last, so that half a backup is none.
"""

import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake.export import TableExport
from pipeline_platform.landing.claimed_file import Folder
from pipeline_platform.landing.kept_file import KeptFile
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.physical_backup import LogRange
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.table_contents import TableContent
from pipeline_platform.warehouse.wal import wal_location

MANIFEST = "manifest.json"
VERDICT = "verified.json"
SETS = "sets"
ID = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(-\d{6})?Z-[0-9a-f]{6}"
"""Older backups have no fraction of the second."""


PartName = Literal["database", "lake", "landing"]


def is_id(text: str) -> bool:
    """Tell whether a text is the id of a backup, and not a folder."""
    return re.fullmatch(ID, text) is not None


class Part(BaseModel):
    """A frozen piece of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabasePart(Part):
    """A copy of the database.

    `base` is one of the whole embedded server, with the log that it needs; `dump` one of each
    database of a server that is not ours. `proved_lsn` is the position of the log at which the
    tables held `contents`, None where they were counted in the copy's own snapshot; `is_exact` says
    that nothing changed in between.
    """

    kind: Literal["base", "dump"]
    files: tuple[KeptFile, ...]
    server_version: str
    migration: int
    log: LogRange | None = None
    proved_lsn: str | None = None
    proved_at: datetime
    is_exact: bool
    contents: dict[str, TableContent]


class LakeTablePart(Part):
    """One table of the lake: its snapshot (None before the first commit), and its export."""

    identifier: tuple[str, str]
    snapshot_id: int | None
    row_count: int
    file_count: int
    size_bytes: int
    export: KeptFile


class LakePart(Part):
    """The lake's tables, each at the snapshot that it had when the backup began."""

    tables: tuple[LakeTablePart, ...]


class DeliveredFile(KeptFile):
    """A file of a landing zone: whose, in which folder, its key there, and when it arrived."""

    pipeline: str
    folder: Folder
    name: str
    arrived_at: datetime

    @property
    def content(self) -> str:
        """The hash under which the landing zone knows it: a text beside a file has that file's."""
        if self.folder == "archive":
            return self.name.split("/")[1]
        return self.sha256 if self.folder == "incoming" else self.name.split("/")[0]


class LandingPart(Part):
    """The landing zones of all pipelines; `files` is the list of them.

    `versioned` are folders that are not copied, because their bucket keeps versions.
    """

    file_count: int
    size_bytes: int
    versioned: tuple[str, ...]
    files: KeptFile


class Verdict(Part):
    """What a verification found; no faults = every file is what it was."""

    verified_at: datetime
    faults: tuple[str, ...]


class PlatformBackup(Part):
    """The manifest of a backup of the platform."""

    format_version: Literal[1] = 1
    id: str = Field(pattern=f"^{ID}$")
    began_at: datetime
    ended_at: datetime
    reason: str
    code_version: str
    database: DatabasePart | None
    lake: LakePart | None
    landing: LandingPart | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files; those of the lake may be other backups', too."""
        files = sum(one.size_bytes for one in self.database.files) if self.database else 0
        lake = sum(one.size_bytes for one in self.lake.tables) if self.lake else 0
        return files + lake + (self.landing.size_bytes if self.landing else 0)


class BackupSets:
    """The backups at the location of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = ObjectStore.at(settings.backups_location, settings)

    @cached_property
    def log_location(self) -> str:
        """Where the database's log is kept."""
        return wal_location(self.settings, ServerFiles(self.settings.home))

    @property
    def log(self) -> ObjectStore:
        """The store of the database's log."""
        return ObjectStore.at(self.log_location, self.settings)

    def ids(self) -> list[str]:
        """Return the ids of all whole backups, the oldest first."""
        paths = (one.key.split("/") for one in self.store.list(SETS))
        return sorted(backup_id for _, backup_id, *name in paths if name == [MANIFEST])

    def all(self) -> Iterator[PlatformBackup]:
        """Yield all whole backups, the newest first."""
        for one in reversed(self.ids()):
            yield self.get(one)

    def newest(self, part: PartName | None = None) -> PlatformBackup | None:
        """Return the newest backup, or the newest that holds a part; None without any."""
        found = (one for one in self.all() if part is None or getattr(one, part) is not None)
        return next(found, None)

    def newest_sound(self, part: PartName, before: datetime | None = None) -> PlatformBackup | None:
        """Return the newest backup with a part in which no verification found a fault, if any."""
        for backup in self.all():
            verdict = self.verdict(backup.id)
            is_sound = getattr(backup, part) is not None and not (verdict and verdict.faults)
            if is_sound and (before is None or backup.ended_at <= before):
                return backup
        return None

    def chosen(
        self, backup_id: str | None, part: PartName, *, before: datetime | None = None
    ) -> PlatformBackup:
        """Return the backup of that id; without one the newest with a part that is not damaged.

        `before` leaves out those that ended later. Raises NotFoundError if there is none.
        """
        found = self.newest_sound(part, before) if backup_id is None else self.get(backup_id)
        if found is not None:
            return found
        raise NotFoundError(
            f"There is no sound backup of the {part} at {self.store.location}"
            + (f" from before {before:%Y-%m-%d %H:%M:%S} UTC." if before else ".")
        )

    def get(self, backup_id: str) -> PlatformBackup:
        """Read a backup's manifest; NotFoundError without one, PermanentError if it is damaged."""
        key = f"{SETS}/{backup_id}/{MANIFEST}"
        try:
            return PlatformBackup.model_validate_json(self.store.read(key))
        except NotFoundError:
            raise NotFoundError(
                f"There is no whole backup {backup_id} at {self.store.location}; "
                "`pipeline-platform backup list` names them."
            ) from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise PermanentError(
                f"{self.store.location}/{key} is damaged: {field}: {first['msg']}; "
                "use another backup."
            ) from None

    def put(self, backup: PlatformBackup) -> None:
        """Make a backup one, by its manifest."""
        self.store.put(f"{SETS}/{backup.id}/{MANIFEST}", backup.model_dump_json().encode())

    def export(self, table: LakeTablePart) -> TableExport:
        """Read the export of one table; PermanentError if it is damaged."""
        text = table.export.read(self.store)
        return TableExport.model_validate_json(text)

    def verdict(self, backup_id: str) -> Verdict | None:
        """Return what the last verification of a backup found; None if there was none."""
        try:
            return Verdict.model_validate_json(self.store.read(f"{SETS}/{backup_id}/{VERDICT}"))
        except NotFoundError:
            return None

    def newest_verdict(self) -> tuple[str, Verdict] | None:
        """Return id and verdict of the newest backup that was verified; None if none was."""
        for backup_id in reversed(self.ids()):
            if (verdict := self.verdict(backup_id)) is not None:
                return backup_id, verdict
        return None

    def put_verdict(self, backup_id: str, verdict: Verdict) -> None:
        """Keep what a verification found."""
        self.store.put(f"{SETS}/{backup_id}/{VERDICT}", verdict.model_dump_json().encode())


def new_id(now: datetime) -> str:
    """Return the id of a backup that begins now; ids sort by time, also within a second."""
    return f"{now:%Y-%m-%dT%H-%M-%S-%f}Z-{secrets.token_hex(3)}"
