"""A table's current state outside of the lake: every file of its snapshot, also those of metadata.

Each is kept once, however many exports need it: Iceberg never changes a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake.backup import spooled_file
from pipeline_platform.lake.catalog import catalog_failures
from pipeline_platform.lake.lake import Lake
from pipeline_platform.landing.kept_file import KeptFile
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.progress import tracked

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table

EXPORTS = "lake"
"""Prefix of the exported files' keys in their store."""


class ExportedFile(KeptFile):
    """A kept file and its path below the table's location."""

    path: str


class TableExport(BaseModel):
    """One table at one snapshot (None: nothing was ever committed).

    `location` is where the table was, `metadata_path` its metadata's path below that. `row_count`
    is of the data files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    identifier: tuple[str, str]
    location: str
    metadata_path: str
    snapshot_id: int | None
    committed_at: datetime | None
    row_count: int
    metadata_files: tuple[ExportedFile, ...]
    data_files: tuple[ExportedFile, ...]

    @property
    def name(self) -> str:
        """Namespace and name, as people write them."""
        return ".".join(self.identifier)

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """All files."""
        return (*self.metadata_files, *self.data_files)


@dataclass(frozen=True)
class Pinned:
    """A table as it was when it was looked at."""

    identifier: tuple[str, str]
    iceberg: "Table"


def pin_tables(lake: Lake) -> list[Pinned]:
    """Look at every table of the catalog, so that their exports are of about the same instant.

    Maintenance keeps what a snapshot needs for a day after it was superseded, which is how long
    exporting may take. Raises NotFoundError for a table whose metadata are gone.
    """
    return [Pinned(one, _load(lake, one)) for one in table_names(lake)]


def table_names(lake: Lake) -> list[tuple[str, str]]:
    """Return namespace and name of every table of the catalog."""
    catalog = lake.catalog
    with catalog_failures():
        return sorted(
            (".".join(one[:-1]), one[-1])
            for namespace in catalog.list_namespaces()
            for one in catalog.list_tables(namespace)
        )


def export_table(
    lake: Lake, pinned: Pinned, store: ObjectStore, known: Mapping[str, ExportedFile]
) -> TableExport:
    """Keep every file of a pinned table that the store does not have yet.

    `known` are files of an earlier export of the same table by path; those that still lie in the
    store with their size are not copied again. Raises NotFoundError for a file that is gone.
    """
    iceberg = pinned.iceberg
    metadata, data, rows = _paths(iceberg)
    prefix = f"{EXPORTS}/{'/'.join(pinned.identifier)}/{iceberg.metadata.table_uuid}"
    sizes = {one.key: one.size_bytes for one in store.list(prefix)}
    source = ObjectStore.at(iceberg.location(), lake.settings)
    exported = {}
    with spooled_file(lake.settings) as spooled:
        for path in tracked([*metadata, *data], f"files of {'.'.join(pinned.identifier)}"):
            before = known.get(path)
            if before is not None and sizes.get(before.key) == before.size_bytes:
                exported[path] = before
                continue
            try:
                sha256 = source.download(path, spooled)
            except NotFoundError:
                raise NotFoundError(
                    f"The file {iceberg.location()}/{path} of {'.'.join(pinned.identifier)} is "
                    "gone; `pipeline-platform recover` says what can be brought back."
                ) from None
            kept = KeptFile.put(store, f"{prefix}/{path}", spooled, sha256=sha256)
            exported[path] = ExportedFile(path=path, **kept.model_dump())
    snapshot = iceberg.current_snapshot()
    return TableExport(
        identifier=pinned.identifier,
        location=iceberg.location(),
        metadata_path=metadata[0],
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        committed_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        if snapshot
        else None,
        row_count=rows,
        metadata_files=tuple(exported[path] for path in metadata),
        data_files=tuple(exported[path] for path in data),
    )


def lost_files(lake: Lake, identifier: tuple[str, str]) -> list[str]:
    """Return the paths of a table's current files that are gone or have another size.

    All of its data are lost, too, where metadata are; then they can't be named.
    """
    try:
        iceberg = _load(lake, identifier)
        snapshot = iceberg.current_snapshot()
        if snapshot is None:
            return []
        manifests = snapshot.manifests(iceberg.io)
        sizes = {
            file.file_path: file.file_size_in_bytes
            for manifest in manifests
            for file in _data_files(manifest, iceberg.io)
        }
    except NotFoundError as error:
        return [str(error)]
    except FileNotFoundError as error:
        return [str(error.filename or error)]
    lost = []
    for path, size in sizes.items():
        file = iceberg.io.new_input(path)
        if not file.exists() or len(file) != size:
            lost.append(path)
    return lost


def put_back(lake: Lake, export: TableExport, store: ObjectStore) -> None:
    """Copy exported files that are gone or damaged to where they were."""
    copy_files(lake, export, store, export.location, export.files)


def _load(lake: Lake, identifier: tuple[str, str]) -> "Table":
    found = lake.named(identifier)
    if found is None:
        raise NotFoundError(f"The table {'.'.join(identifier)} is not in the catalog.")
    return found


def _paths(iceberg: "Table") -> tuple[list[str], list[str], int]:
    """Return the paths below the location of metadata files (the metadata first) and data files."""
    snapshot = iceberg.current_snapshot()
    manifests = snapshot.manifests(iceberg.io) if snapshot else []
    metadata = [
        iceberg.metadata_location,
        *([snapshot.manifest_list] if snapshot else []),
        *(one.manifest_path for one in manifests),
    ]
    files = [file for manifest in manifests for file in _data_files(manifest, iceberg.io)]
    data = sorted(file.file_path for file in files)
    root = f"{iceberg.location()}/"
    strays = [path for path in (*metadata, *data) if not path.startswith(root)]
    if strays:
        raise PermanentError(f"The file {strays[0]} is not below its table; move it.")
    relative = [[path.removeprefix(root) for path in some] for some in (metadata, data)]
    return relative[0], relative[1], sum(file.record_count for file in files)


def _data_files(manifest: "ManifestFile", files: "FileIO") -> "Iterable[DataFile]":
    return (one.data_file for one in manifest.fetch_manifest_entry(files, discard_deleted=True))


def copy_files(
    lake: Lake,
    export: TableExport,
    store: ObjectStore,
    location: str,
    files: Sequence[ExportedFile],
) -> None:
    """Copy those exported files that don't lie below a location as they should.

    Raises PermanentError for an exported file that is not what it was.
    """
    target = ObjectStore.at(location, lake.settings)
    with spooled_file(lake.settings) as spooled:
        for file in tracked(files, f"files of {export.name}"):
            try:
                if target.sha256(file.path) == file.sha256:
                    continue
            except NotFoundError:
                pass
            file.fetch(store, spooled)
            target.put(file.path, spooled)
