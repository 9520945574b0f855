"""Partitions made again what they were before one run published them (B-5).

One commit per table drops what the run added and names again the files that it had replaced. A
later publication of the same partitions is never undone with it: the commit looks again, on the
very metadata that it starts from.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import ConflictError, NotFoundError
from pipeline_platform.lake import publications
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.lineage import Commit, commits_in
from pipeline_platform.lake.publications import UNDOES, Publication
from pipeline_platform.lake.reading import PartitionValue, live_files, stored_partition_value
from pipeline_platform.lake.restoration import Difference, difference, require_files
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

ALL = "all"


@dataclass(frozen=True)
class Reversion:
    """What one table's partitions go back to: by partition the snapshot before (None = empty).

    `seen` is the newest snapshot that was looked at for later publications.
    """

    table: LakeTable
    before: Mapping[PartitionValue, int | None]
    seen: int

    @property
    def keys(self) -> list[str]:
        """The partitions by name; `all` for a table that is not partitioned."""
        return sorted(str(one or ALL) for one in self.before)

    def document(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        before = {str(value or ALL): snapshot for value, snapshot in self.before.items()}
        return {"table": list(self.table.asset_key), "before": before, "seen": self.seen}

    @classmethod
    def of(
        cls, document: Mapping[str, Any], tables: Mapping[tuple[str, str, str], LakeTable]
    ) -> "Reversion":
        """Read what `document` returned."""
        before: dict[PartitionValue, int | None] = {
            None if key == ALL else date.fromisoformat(key): snapshot
            for key, snapshot in document["before"].items()
        }
        return cls(tables[tuple(document["table"])], before, document["seen"])


def reversion_of(commits: Sequence[Commit], seen: int) -> Reversion:
    """Return the way back to before the given commits of one run to one table, oldest first."""
    before: dict[PartitionValue, int | None] = {}
    for commit in commits:
        for value in commit.changes:
            before.setdefault(value, commit.parent_id)
    return Reversion(commits[0].table, before, seen)


def later_commits(
    commits: Sequence[Commit], run_id: str, undone: Collection[str]
) -> Iterator[tuple[Commit, Collection[PartitionValue]]]:
    """Yield what others committed to partitions that a run had published before, and to which.

    A run may publish piece by piece, so each commit, oldest first, is judged by the run's own
    before it. What was undone meanwhile does not count, nor does its undoing.
    """
    own: set[PartitionValue] = set()
    for one in commits:
        if one.run_id == run_id:
            own |= one.changes.keys()
        elif (shared := own & one.changes.keys()) and not is_undone(one, undone):
            yield one, shared


def is_undone(commit: Commit, undone: Collection[str]) -> bool:
    """Tell whether a commit was taken back, or took one back."""
    return commit.run_id in undone or UNDOES in commit.publication.properties


def files_of(lake: Lake, reversion: Reversion) -> tuple[list[str], list[str]]:
    """Return the paths of the partitions' files now and before the run.

    Raises NotFoundError if a snapshot or file that is needed is gone.
    """
    iceberg = lake.iceberg(reversion.table)
    now, then = _files(iceberg, reversion)
    require_files(iceberg, [file for path, file in then.items() if path not in now])
    return sorted(now), sorted(then)


def compare(lake: Lake, reversion: Reversion) -> Difference:
    """Say what a reversion would change, row by row; the errors are those of `files_of`."""
    mixed = len(lake.iceberg(reversion.table).schemas()) > 1
    return difference(lake, reversion.table, *files_of(lake, reversion), mixed=mixed)


def require_revertible(lake: Lake, reversion: Reversion, undone: Collection[str]) -> None:
    """Raise what `revert` would raise now; nothing is changed."""
    _exchange(lake.iceberg(reversion.table), reversion, undone)


def revert(
    lake: Lake,
    reversion: Reversion,
    *,
    run_id: str,
    undoes: str,
    undone: Collection[str] = (),
) -> Publication | None:
    """Take the partitions back in one commit; None if they already are what they were.

    Raises ConflictError, with nothing changed, if somebody published them since they were looked
    at (and is none of `undone`), and NotFoundError for a snapshot or file that is gone.
    """
    table = reversion.table

    def attempt(fresh: "Table") -> Publication | None:
        removed, added = _exchange(fresh, reversion, undone)
        if not added and not removed:
            return None
        return publications.commit_files(
            fresh,
            removed=removed,
            added=added,
            properties=publications.snapshot_properties(
                run_id, reversion.keys, {UNDOES: undoes, "code_version": code_version()}
            ),
        )

    return lake.commit(table, attempt, run_id=run_id)


def _exchange(
    iceberg: "Table", reversion: Reversion, undone: Collection[str]
) -> "tuple[list[DataFile], list[DataFile]]":
    """Return the files that go and those that come back, once it is sure that nothing is lost."""
    now, then = _files(iceberg, reversion)
    added = [file for path, file in then.items() if path not in now]
    removed = [file for path, file in now.items() if path not in then]
    if added or removed:
        _refuse_later(iceberg, reversion, undone)
        require_files(iceberg, added)
    return removed, added


def _refuse_later(iceberg: "Table", reversion: Reversion, undone: Collection[str]) -> None:
    for one in commits_in(iceberg, reversion.table, after=reversion.seen):
        if reversion.before.keys() & one.changes.keys() and not is_undone(one, undone):
            raise ConflictError(
                f"Run {one.run_id} has published {reversion.table.name} meanwhile, so nothing of "
                "this table was undone."
            )


def _files(
    iceberg: "Table", reversion: Reversion
) -> "tuple[dict[str, DataFile], dict[str, DataFile]]":
    """Return the partitions' files now, and those of before the run, by path."""
    now = _files_in(iceberg, None, reversion.before.keys())
    then: dict[str, DataFile] = {}
    for snapshot_id in set(reversion.before.values()) - {None}:
        values = {value for value, one in reversion.before.items() if one == snapshot_id}
        then |= _files_in(iceberg, snapshot_id, values)
    return now, then


def _files_in(
    iceberg: "Table", snapshot_id: int | None, values: Collection[PartitionValue]
) -> "dict[str, DataFile]":
    if snapshot_id is not None and iceberg.snapshot_by_id(snapshot_id) is None:
        raise NotFoundError(
            f"{'.'.join(iceberg.name())} no longer remembers the snapshot before the run "
            f"({snapshot_id}), so the run can't be undone; restore a backup instead."
        )
    dates = [value for value in values if isinstance(value, date)]
    name = iceberg.spec().fields[0].name if iceberg.spec().fields else None
    where = {name: (min(dates), max(dates))} if name and len(dates) == len(values) else None
    return {
        file.file_path: file
        for file in live_files(iceberg, where=where, snapshot_id=snapshot_id)
        if stored_partition_value(iceberg, file.partition) in values
    }
