"""What each commit to a table changed, by partition, and what it was made from.

Every publication carries its run, code version and inputs as properties of its snapshot. Files or
snapshots: bronze names the hashes of the files that it read, all other tables the snapshots of the
tables that they were computed from.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from pipeline_platform.lake.dbt_runs import INPUTS
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import RESTORED_FROM, RUN_ID, STANDS_FOR, Publication
from pipeline_platform.lake.reading import PartitionValue, stored_partition_value
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Change:
    """How many rows one commit added to a partition, and took from it."""

    rows_added: int = 0
    rows_removed: int = 0


@dataclass(frozen=True)
class Commit:
    """One commit to a table; `parent_id` is the snapshot before it, None for the first."""

    table: LakeTable
    publication: Publication
    parent_id: int | None
    changes: Mapping[PartitionValue, Change]

    @property
    def run_id(self) -> str:
        """The run that made it."""
        return self.publication.properties.get(RUN_ID, "")


@dataclass(frozen=True)
class Inputs:
    """Files by their hash, and snapshots by the noun of their table."""

    files: tuple[str, ...] = ()
    snapshots: Mapping[str, int] = field(default_factory=dict)


def inputs_of(properties: Mapping[str, str]) -> Inputs:
    """Read what a publication was made from; what is written otherwise is left out."""
    text = properties.get(INPUTS, "")
    if text.startswith("{"):
        named = json.loads(text).items()
        return Inputs(snapshots={str(k).rpartition(".")[2]: v for k, v in named if v is not None})
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pinned = [part.rpartition("@") for part in parts if "@" in part]
    return Inputs(
        files=tuple(part for part in parts if _SHA256.fullmatch(part)),
        snapshots={name: int(number) for name, _, number in pinned if number.isdigit()},
    )


def commits_to(
    lake: Lake, table: LakeTable, *, since: datetime | None = None, after: int | None = None
) -> list[Commit]:
    """Return the remembered commits that changed a table's content, oldest first.

    `since` leaves out those before an instant, `after` a snapshot and all before it.
    """
    iceberg = lake.named(table.identifier)
    return [] if iceberg is None else commits_in(iceberg, table, since=since, after=after)


def commits_in(
    iceberg: "Table",
    table: LakeTable,
    *,
    since: datetime | None = None,
    after: int | None = None,
) -> list[Commit]:
    """Return the same of metadata that were read before."""
    snapshots = list(iceberg.snapshots())
    begin = next((n for n, one in enumerate(snapshots) if one.snapshot_id == after), -1) + 1
    first_ms = 0 if since is None else since.timestamp() * 1000
    chosen = [one for one in snapshots[begin:] if one.timestamp_ms >= first_ms]
    return list(_commits(iceberg, table, chosen))


def last_commits(
    lake: Lake, table: LakeTable, partition: PartitionValue, *, count: int
) -> list[Commit]:
    """Return the last commits that changed a partition, the newest first."""
    iceberg = lake.named(table.identifier)
    if iceberg is None:
        return []
    backwards = _commits(iceberg, table, list(iceberg.snapshots())[::-1])
    return list(islice((one for one in backwards if partition in one.changes), count))


def commits_by(lake: Lake, tables: Iterable[LakeTable], run_id: str) -> list[Commit]:
    """Return what a run committed to these tables, in their order, oldest first."""
    found: list[Commit] = []
    for table in tables:
        iceberg = lake.named(table.identifier)
        if iceberg is not None:
            own = [one for one in iceberg.snapshots() if _run_of(one) == run_id]
            found += _commits(iceberg, table, own)
    return found


def foreign_commits(lake: Lake, table: LakeTable) -> list[Commit]:
    """Return what somebody changed past the platform since the last restoration, oldest first."""
    iceberg = lake.named(table.identifier)
    return [] if iceberg is None else list(_commits(iceberg, table, foreign_snapshots(iceberg)))


def foreign_snapshots(iceberg: "Table") -> list["Snapshot"]:
    """Return the snapshots of the current state that no run made, oldest first.

    Whoever restores after one has looked at it: those before a restoration are left out.
    """
    known = {one.snapshot_id: one for one in iceberg.metadata.snapshots}
    found: list[Snapshot] = []
    snapshot = iceberg.current_snapshot()
    while snapshot is not None:
        properties = Publication.of(snapshot).properties
        if RESTORED_FROM in properties:
            break
        if _run_of(snapshot) is None and STANDS_FOR not in properties:
            found.append(snapshot)
        snapshot = known.get(snapshot.parent_snapshot_id or -1)
    return found[::-1]


def _run_of(snapshot: "Snapshot") -> str | None:
    summary = snapshot.summary
    return summary.additional_properties.get(RUN_ID) if summary else None


def _commits(
    iceberg: "Table", table: LakeTable, snapshots: "Sequence[Snapshot]"
) -> Iterator[Commit]:
    for snapshot in snapshots:
        publication = Publication.of(snapshot)
        if STANDS_FOR in publication.properties:
            continue  # a compaction: the same rows in other files
        changes = _changes(iceberg, snapshot)
        yield Commit(table, publication, snapshot.parent_snapshot_id, changes)


def _changes(iceberg: "Table", snapshot: "Snapshot") -> dict[PartitionValue, Change]:
    from pyiceberg.manifest import ManifestEntryStatus  # noqa: PLC0415 - slow import

    found: dict[PartitionValue, Change] = {}
    for manifest in snapshot.manifests(iceberg.io):
        if manifest.added_snapshot_id != snapshot.snapshot_id:
            continue
        for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False):
            if entry.snapshot_id != snapshot.snapshot_id:
                continue
            is_added = entry.status == ManifestEntryStatus.ADDED
            if not is_added and entry.status != ManifestEntryStatus.DELETED:
                continue
            file = entry.data_file
            value = stored_partition_value(iceberg, file.partition)
            before = found.get(value, Change())
            found[value] = Change(
                before.rows_added + file.record_count * is_added,
                before.rows_removed + file.record_count * (not is_added),
            )
    return found
