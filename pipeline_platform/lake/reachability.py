"""Which files a table still needs: everything that its metadata lead to."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline_platform.lake.catalog import catalog_failures

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


class Reachability:
    """Files that a table's metadata name; what can't change is read once and remembered.

    Reached are: the current metadata file and those of the metadata log; the statistics; and for
    each remembered snapshot (so for each tag and branch) its manifest list, its manifests and the
    data and delete files that it reads. A file that a snapshot only says to have dropped is not
    among these: no snapshot reads it any more.
    """

    def __init__(self) -> None:
        self._manifest_lists: dict[str, list[ManifestFile]] = {}
        self._files: dict[str, frozenset[str]] = {}

    def paths(self, iceberg: "Table") -> set[str]:
        """Return the paths of all files that the table needs."""
        metadata = iceberg.metadata
        reached = {iceberg.metadata_location}
        reached.update(entry.metadata_file for entry in metadata.metadata_log)
        reached.update(file.statistics_path for file in metadata.statistics)
        reached.update(file.statistics_path for file in metadata.partition_statistics)
        with catalog_failures():
            for snapshot in metadata.snapshots:
                reached.add(snapshot.manifest_list)
                for manifest in self._manifests(snapshot, iceberg.io):
                    reached.add(manifest.manifest_path)
                    reached |= self._read(manifest, iceberg.io)
        return reached

    def current_files(self, iceberg: "Table") -> Iterator[str]:
        """Yield the paths of the data and delete files of the current snapshot."""
        snapshot = iceberg.current_snapshot()
        for manifest in self._manifests(snapshot, iceberg.io) if snapshot else []:
            yield from self._read(manifest, iceberg.io)

    def _manifests(self, snapshot: "Snapshot", files: "FileIO") -> "list[ManifestFile]":
        path = snapshot.manifest_list
        if path not in self._manifest_lists:
            self._manifest_lists[path] = snapshot.manifests(files)
        return self._manifest_lists[path]

    def _read(self, manifest: "ManifestFile", files: "FileIO") -> frozenset[str]:
        path = manifest.manifest_path
        if path not in self._files:
            entries = manifest.fetch_manifest_entry(files, discard_deleted=True)
            self._files[path] = frozenset(entry.data_file.file_path for entry in entries)
        return self._files[path]
