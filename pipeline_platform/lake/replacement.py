"""PyIceberg's overwrite and transaction, mended where they cost more with each commit.

Imported by writers only: it needs most of PyIceberg.
"""

from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

MANIFEST_BYTES = 8 * 1024 * 1024
MANIFESTS_TO_MERGE = 100


class Replacement(_OverwriteFiles):
    """One snapshot that drops files and adds others.

    `_OverwriteFiles` alone would carry the manifest of each past deletion on for ever, and never
    merge those of many small commits.
    """

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        useful = [
            manifest
            for manifest in manifests
            if manifest.has_added_files()
            or manifest.has_existing_files()
            or manifest.added_snapshot_id == self._snapshot_id
        ]
        return _ManifestMergeManager(
            target_size_bytes=MANIFEST_BYTES,
            min_count_to_merge=MANIFESTS_TO_MERGE,
            merge_enabled=True,
            snapshot_producer=self,
        ).merge_manifests(useful)


class SingleCommit(Transaction):
    """A transaction of one update.

    `Transaction` copies the metadata, with every snapshot that the table remembers, each of the
    twenty times that it is looked at; before the update there is nothing to copy it for.
    """

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata as this transaction would leave it."""
        return super().table_metadata if self._updates else self._table.metadata
