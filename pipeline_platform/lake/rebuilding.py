"""Tables made of an export again: where they were, or anywhere.

Metadata are written that name the files where they now lie, and registered in the catalog; files
alone are no table (D-10).
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import load_file_io
from pyiceberg.manifest import (
    read_manifest_list,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.serializers import FromInputFile, ToOutputFile

from pipeline_platform.lake.backup import local_folder
from pipeline_platform.lake.catalog import catalog_failures
from pipeline_platform.lake.export import TableExport, copy_files
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.local_files import LocalFiles
from pipeline_platform.landing.objects import ObjectStore

if TYPE_CHECKING:
    from pyiceberg.io import FileIO, InputFile
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

_COMPRESSION: Literal["deflate"] = "deflate"
_PATH = 1
"""Where PyIceberg's description of a data file has its path, which can't be set by name."""


def rebuild_table(lake: Lake, export: TableExport, store: ObjectStore, location: str) -> "Table":
    """Make a table of the catalog, at a location, what the export says; one of its name goes.

    It has the exported snapshot and no earlier one. Safe to repeat after a kill. Raises
    PermanentError for an exported file that is not what it was.
    """
    copy_files(lake, export, store, location, export.data_files)
    catalog = lake.catalog
    files = load_file_io(dict(catalog.properties), location)
    with _fetched_metadata(lake, export, store) as fetched:
        path = _write_metadata(export, fetched, location, files)
    with catalog_failures():
        catalog.create_namespace_if_not_exists(export.identifier[0])
        with suppress(NoSuchTableError):
            catalog.drop_table(export.identifier)
        return catalog.register_table(export.identifier, path)


def exported_data_files(
    lake: Lake, export: TableExport, store: ObjectStore
) -> "dict[str, DataFile]":
    """Return the exported snapshot's data files, by their paths where the table was."""
    with _fetched_metadata(lake, export, store) as fetched:
        snapshot = _snapshot(_read(export, fetched), export)
        entries = _entries(snapshot, fetched) if snapshot else []
        return {
            entry.data_file.file_path: entry.data_file
            for _, entries_of_one in entries
            for entry in entries_of_one
        }


class _Fetched(LocalFiles):
    """The exported metadata files in a local folder, by the paths that they had in the lake."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def local(self, location: str) -> Path:
        return self._folder / Path(location).name

    def new_input(self, location: str) -> "InputFile":
        return super().new_input(str(self.local(location)))


@contextmanager
def _fetched_metadata(lake: Lake, export: TableExport, store: ObjectStore) -> Iterator[_Fetched]:
    with local_folder(lake.settings) as folder:
        fetched = _Fetched(folder)
        for file in export.metadata_files:
            file.fetch(store, fetched.local(file.path))
        yield fetched


def _read(export: TableExport, fetched: _Fetched) -> "TableMetadata":
    return FromInputFile.table_metadata(fetched.new_input(export.metadata_path))


def _snapshot(metadata: "TableMetadata", export: TableExport) -> "Snapshot | None":
    return None if export.snapshot_id is None else metadata.snapshot_by_id(export.snapshot_id)


def _entries(
    snapshot: "Snapshot", fetched: _Fetched
) -> "Iterator[tuple[ManifestFile, list[ManifestEntry]]]":
    for manifest in read_manifest_list(fetched.new_input(snapshot.manifest_list)):
        entries = manifest.fetch_manifest_entry(fetched, discard_deleted=True)
        if entries:
            yield manifest, entries


def _write_metadata(export: TableExport, fetched: _Fetched, location: str, files: "FileIO") -> str:
    """Write metadata of the exported snapshot alone, for files at a location; return their path."""
    found = _read(export, fetched)
    snapshot = _snapshot(found, export)
    kept = []
    if snapshot is not None:
        listed = _write_manifests(found, snapshot, export, fetched, location, files)
        kept = [snapshot.model_copy(update={"manifest_list": listed})]
    log = [one for one in found.snapshot_log if one.snapshot_id == export.snapshot_id]
    made = found.model_copy(
        update={
            "location": location,
            "snapshots": kept,
            "snapshot_log": log[-1:],
            "metadata_log": [],
            "refs": {"main": found.refs["main"]} if kept else {},
            "statistics": [],
            "partition_statistics": [],
        }
    )
    path = f"{location}/metadata/00000-{uuid.uuid4()}.metadata.json"
    ToOutputFile.table_metadata(made, files.new_output(path))
    return path


def _write_manifests(
    metadata: "TableMetadata",
    snapshot: "Snapshot",
    export: TableExport,
    fetched: _Fetched,
    location: str,
    files: "FileIO",
) -> str:
    """Write a snapshot's manifests, with the files at a location; return the path of their list."""
    written = []
    for manifest, entries in _entries(snapshot, fetched):
        output = files.new_output(f"{location}/metadata/{uuid.uuid4()}-m0.avro")
        with write_manifest(
            metadata.format_version,
            metadata.specs()[manifest.partition_spec_id],
            metadata.schema(),
            output,
            snapshot.snapshot_id,
            _COMPRESSION,
        ) as writer:
            for entry in entries:
                path = entry.data_file.file_path.removeprefix(f"{export.location}/")
                entry.data_file._data[_PATH] = f"{location}/{path}"
                writer.existing(entry)
        written.append(writer.to_manifest_file())
    listed = f"{location}/metadata/snap-{snapshot.snapshot_id}-{uuid.uuid4()}.avro"
    with write_manifest_list(
        metadata.format_version,
        files.new_output(listed),
        snapshot.snapshot_id,
        snapshot.parent_snapshot_id,
        snapshot.sequence_number,
        _COMPRESSION,
    ) as lists:
        lists.add_manifests(written)
    return listed
