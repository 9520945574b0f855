"""PyIceberg's overwrite and transaction, mended where they cost more with each commit.

Imported by writers only: it needs most of PyIceberg.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import PrivateAttr
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import AssertRefSnapshotId, UpdatesAndRequirements
from pyiceberg.table.update.snapshot import (
    ExpireSnapshots,
    _ManifestMergeManager,
    _OverwriteFiles,
)
from pyiceberg.typedef import EMPTY_DICT

MANIFEST_BYTES = 8 * 1024 * 1024
MANIFESTS_TO_MERGE = 100


class Replacement(_OverwriteFiles):
    """One snapshot that drops files and adds others.

    `_OverwriteFiles` alone would carry the manifest of each past deletion on for ever, and never
    merge those of many small commits, and PyIceberg makes no snapshot of the operation `replace`.
    """

    keeps_content = False

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        summary = super()._summary(snapshot_properties)
        if self.keeps_content:
            return Summary(Operation.REPLACE, **summary.additional_properties)
        return summary

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


def remove_snapshots(table: Table, snapshot_ids: set[int]) -> None:
    """Forget snapshots in one commit; CommitFailedException if the table has changed meanwhile."""
    with SingleCommit(table) as transaction, _Expiry(transaction) as expiry:
        expiry.by_ids(sorted(snapshot_ids))


class _Expiry(ExpireSnapshots):
    """PyIceberg's expiry, but not on top of what it has not seen.

    It asks for nothing, so a tag that was made after the plan would be removed with its snapshot.
    """

    def _commit(self) -> UpdatesAndRequirements:
        updates, requirements = super()._commit()
        metadata = self._transaction._table.metadata
        seen = {"ref": MAIN_BRANCH, "snapshot-id": metadata.current_snapshot_id}
        unchanged = _UnchangedReferences.model_validate(seen).expecting(metadata.refs)
        return updates, (*requirements, unchanged)


class _UnchangedReferences(AssertRefSnapshotId):
    """Current snapshot, tags and branches are those that the plan saw.

    A REST catalog is told of the current snapshot alone, which is all that its protocol can say.
    """

    _expected: dict[str, SnapshotRef] = PrivateAttr(default_factory=dict)

    def expecting(self, references: Mapping[str, SnapshotRef]) -> Self:
        self._expected = dict(references)
        return self

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        super().validate(base_metadata)
        if base_metadata is None or base_metadata.refs != self._expected:
            raise CommitFailedException("Requirement failed: tags or branches have changed")
