"""A copy of a table or partition that stands alone: its Parquet files and what they must be.

`manifest.json` is written last, so that half a backup is none. Files are copied as they are: they
keep their order and their granularity, and their SHA-256 tells whether they are still the same.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake import reading
from pipeline_platform.lake.engine import local_temp
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.kept_file import KeptFile
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.progress import tracked
from pipeline_platform.settings import Settings

MANIFEST = "manifest.json"


class BackupColumn(BaseModel):
    """A column at the time of the backup; the type in Arrow's words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str
    is_nullable: bool


class BackupFile(KeptFile):
    """A Parquet file of the backup; `key` is relative to its folder.

    `sort_order_id` marks one that a compaction made: it may hold rows of several deliveries.
    """

    key: str = Field(pattern=r"^data/[^/]+$")
    row_count: int
    partition: date | None
    sort_order_id: int | None


class Backup(BaseModel):
    """The manifest of a backup: table, snapshot, columns and files; `partition` None means all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    table: tuple[str, str, str]
    snapshot_id: int
    committed_at: datetime
    created_at: datetime
    partition_by: str | None
    partition: date | None
    columns: tuple[BackupColumn, ...]
    files: tuple[BackupFile, ...]
    _store: ObjectStore = PrivateAttr()

    @classmethod
    def open(cls, folder: str, settings: Settings) -> Self:
        """Read a backup's manifest; NotFoundError without one, PermanentError if it is damaged."""
        store = ObjectStore.at(folder, settings)
        try:
            text = store.read(MANIFEST)
        except NotFoundError:
            raise NotFoundError(
                f"There is no whole backup at {folder}: it has no {MANIFEST}."
            ) from None
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise PermanentError(
                f"{folder}/{MANIFEST} is damaged: {field}: {first['msg']}; use another backup."
            ) from None
        found._store = store
        return found

    @property
    def location(self) -> str:
        """The folder, or `s3://` address, of the backup."""
        return self._store.location

    @property
    def row_count(self) -> int:
        """Rows of all files."""
        return sum(file.row_count for file in self.files)

    def files_of(self, partition: date | None) -> list[BackupFile]:
        """Return the files of a partition, or all; NotFoundError if the backup lacks it."""
        if self.partition not in (None, partition):
            raise NotFoundError(
                f"The backup {self.location} holds {self.partition} only; "
                "restore that partition, or use another backup."
            )
        if partition is None:
            return list(self.files)
        found = [file for file in self.files if file.partition == partition]
        if not found and self.partition is None:
            raise NotFoundError(
                f"The backup {self.location} has no rows of {partition}; use another backup."
            )
        return found

    def require_fit(self, table: LakeTable) -> None:
        """Raise PermanentError if the backup is of another table, or its columns have changed."""
        if self.table != table.asset_key or self.partition_by != table.partition_by:
            raise PermanentError(
                f"The backup {self.location} is one of {'/'.join(self.table)}, by "
                f"{self.partition_by}, not of {'/'.join(table.asset_key)}; use another backup."
            )
        declared = {column.name: str(column.type) for column in table.schema}
        for column in self.columns:
            if declared.get(column.name) != column.type:
                raise PermanentError(
                    f"The backup {self.location} has the column {column.name} as {column.type}, "
                    f"but {table.name} has it as {declared.get(column.name, 'nothing')}; restore "
                    "it with the version of the platform that made it."
                )

    def fetch(self, file: BackupFile, path: Path) -> None:
        """Copy a file of the backup to a local path; PermanentError if it is not what it was."""
        file.fetch(self._store, path)

    def verify(self, settings: Settings, partition: date | None = None) -> None:
        """Read every file of the backup, or of a partition; PermanentError if one is damaged."""
        with spooled_file(settings) as spooled:
            for file in tracked(self.files_of(partition or self.partition), "files"):
                self.fetch(file, spooled)


def back_up(
    lake: Lake, table: LakeTable, folder: str, *, partition: date | None, now: datetime
) -> Backup:
    """Copy the current rows of a table, or of one partition, to a folder without a backup.

    Raises PermanentError if there is one already, NotFoundError if there is nothing to copy.
    """
    target = ObjectStore.at(folder, lake.settings)
    if target.exists(MANIFEST):
        raise PermanentError(f"There is a backup at {folder} already; choose another folder.")
    iceberg = lake.iceberg(table)
    current = lake.last_publication(table)
    if current is None:
        raise NotFoundError(
            f"The table {table.name} was never published; there is nothing to copy."
        )
    if partition is not None and table.partition_by is None:
        raise PermanentError(f"The table {table.name} is not partitioned; leave --partition out.")
    where = None if partition is None else {str(table.partition_by): partition}
    files = reading.live_files(iceberg, where=where, snapshot_id=current.snapshot_id)
    if partition is not None and not files:
        raise NotFoundError(f"The table {table.name} has no rows of {partition}.")
    source = ObjectStore.at(iceberg.location(), lake.settings)
    copied = []
    with spooled_file(lake.settings) as spooled:
        ordered = sorted(files, key=lambda one: one.file_path)
        for number, file in enumerate(tracked(ordered, "files")):
            if not file.file_path.startswith(f"{iceberg.location()}/"):
                raise PermanentError(f"The file {file.file_path} is not below its table; move it.")
            digest = source.download(file.file_path.removeprefix(f"{iceberg.location()}/"), spooled)
            kept = KeptFile.put(target, f"data/{number:06d}.parquet", spooled, sha256=digest)
            value = reading.partition_value(table, file.partition)
            copied.append(
                BackupFile(
                    **kept.model_dump(),
                    row_count=file.record_count,
                    partition=value if isinstance(value, date) else None,
                    sort_order_id=file.sort_order_id,
                )
            )
    backup = Backup(
        table=table.asset_key,
        snapshot_id=current.snapshot_id,
        committed_at=current.committed_at,
        created_at=now,
        partition_by=table.partition_by,
        partition=partition,
        columns=tuple(
            BackupColumn(name=one.name, type=str(one.type), is_nullable=one.nullable)
            for one in table.schema
        ),
        files=tuple(copied),
    )
    target.put(MANIFEST, backup.model_dump_json(indent=2).encode())
    return Backup.open(folder, lake.settings)


@contextmanager
def local_folder(settings: Settings) -> Iterator[Path]:
    """Lend a temporary local folder for what is copied."""
    parent = local_temp(settings)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="backup-") as folder:
        yield Path(folder)


@contextmanager
def spooled_file(settings: Settings) -> Iterator[Path]:
    """Lend the path of a temporary file through which others are copied, one after the other."""
    with local_folder(settings) as folder:
        yield folder / "file.parquet"
