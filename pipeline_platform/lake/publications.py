"""One atomic commit that replaces some data files of a table by others, and what it left behind.

PyIceberg's `Transaction.delete` and `add_files` make two snapshots, between which the rows are
gone, and the delete may rewrite files. Here one snapshot does both and only ever drops whole
files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline_platform.failures import AuditFailedError, PermanentError

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

RUN_ID = "run_id"
PARTITIONS = "partitions"
STANDS_FOR = "stands_for"
"""On a snapshot that changed no content: JSON of the publication whose rows it holds."""

UNDOES = "undoes"
"""Property of a commit: the run that it takes back."""

RESTORED_FROM = "restored_from"
"""Property of a restoration: the snapshot, or the backup and its snapshot."""

PUBLISHED_ROWS = "published_rows"
"""How many rows a publication added, where its snapshot also holds others written anew."""

_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class PropertyChange:
    """A table property that is set in the same commit as the rows, if it still is `expected`.

    This is how a source's position moves together with what was read up to it: a snapshot is
    forgotten one day, the table's own property is not. None = the property is not there yet.
    """

    name: str
    expected: str | None
    value: str

    def fits(self, properties: Mapping[str, str]) -> bool:
        """Tell whether the property is still what the change starts from."""
        return properties.get(self.name) == self.expected

    def is_done(self, properties: Mapping[str, str]) -> bool:
        """Tell whether the property already is what the change makes it."""
        return properties.get(self.name) == self.value


@dataclass(frozen=True)
class Publication:
    """One commit: the rows it added, when, and the properties that its writer gave it."""

    snapshot_id: int
    row_count: int
    committed_at: datetime
    properties: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: "Snapshot") -> "Publication":
        """Read what a snapshot says of the commit that made it."""
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        committed_at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, tz=UTC)
        original = json.loads(summary.get(STANDS_FOR, "{}"))
        added = summary.get(PUBLISHED_ROWS, summary.get("added-records", 0))
        return cls(
            snapshot_id=snapshot.snapshot_id,
            row_count=int(original.get("row_count", added)),
            committed_at=datetime.fromisoformat(original["committed_at"])
            if original
            else committed_at,
            properties={k: v for k, v in summary.items() if _PROPERTY_NAME.fullmatch(k)},
        )

    def carried(self, properties: Mapping[str, str]) -> dict[str, str]:
        """Return the properties of a snapshot that holds the same rows in other files.

        Whoever looks for this publication (its run, inputs, stream position, row count, time)
        finds it there as well, also when this one's own snapshot has expired.
        """
        original = {
            "snapshot_id": self.snapshot_id,
            "row_count": self.row_count,
            "committed_at": self.committed_at.isoformat(),
        }
        return {STANDS_FOR: json.dumps(original), **self.properties, **properties}


def snapshot_properties(
    run_id: str, partitions: Sequence[str], properties: Mapping[str, str]
) -> dict[str, str]:
    """Return what a commit is marked with; its run and partitions are added to what is given.

    Raises PermanentError for a name that could be mistaken for one of Iceberg's own.
    """
    for name in properties:
        if not _PROPERTY_NAME.fullmatch(name) or name in (RUN_ID, PARTITIONS):
            raise PermanentError(
                f"A publication can't have the property {name!r}; use small letters, digits and "
                f"underscores, and neither {RUN_ID} nor {PARTITIONS}."
            )
    return {**properties, RUN_ID: run_id, PARTITIONS: json.dumps(sorted(partitions))}


def find_publication(table: "Table", marks: Mapping[str, str]) -> Publication | None:
    """Return the newest commit of the same run and partitions, if it is still remembered."""
    for snapshot in reversed(table.snapshots()):
        found = Publication.of(snapshot)
        if all(found.properties.get(name) == marks[name] for name in (RUN_ID, PARTITIONS)):
            return found
    return None


def files_to_replace(table: "Table", row_filter: str) -> "tuple[list[DataFile], list[DataFile]]":
    """Return the live files all of whose rows match a filter, and compacted ones that may hold any.

    A filter is one such as `file_sha256 == 'ab'`. Raises AuditFailedError when any other file may
    hold both rows that match and rows that don't: a run splits its files along what is replaced
    later, so then the filter is a mistake.
    """
    from pyiceberg.expressions.parser import parse  # noqa: PLC0415 - slow imports
    from pyiceberg.expressions.visitors import (  # noqa: PLC0415
        ROWS_MUST_MATCH,
        _StrictMetricsEvaluator,
    )

    if table.current_snapshot() is None:
        return [], []
    condition = parse(row_filter)
    evaluate = _StrictMetricsEvaluator(table.schema(), condition).eval
    whole: list[DataFile] = []
    shared: list[DataFile] = []
    for task in table.scan(row_filter=condition).plan_files():
        if evaluate(task.file) == ROWS_MUST_MATCH:
            whole.append(task.file)
        elif task.file.sort_order_id is not None:
            shared.append(task.file)
        else:
            raise AuditFailedError(
                f"The file {task.file.file_path} may hold rows outside of {row_filter}, so it "
                "can't be replaced as a whole; publish with a filter along which files are split."
            )
    return whole, shared


def commit_files(
    table: "Table",
    *,
    removed: "Sequence[DataFile]",
    added: "Sequence[DataFile]",
    properties: Mapping[str, str],
    keeps_content: bool = False,
    change: PropertyChange | None = None,
) -> Publication:
    """Replace files in one snapshot; with none of both it only carries the properties.

    `keeps_content` makes it a snapshot of Iceberg's operation `replace`: the same rows in other
    files. PyIceberg's CommitFailedException says that another commit came first and nothing was
    done.
    """
    from pyiceberg.table.snapshots import Operation  # noqa: PLC0415 - slow imports

    from pipeline_platform.lake.replacement import Replacement, SingleCommit  # noqa: PLC0415

    operation = Operation.OVERWRITE if removed else Operation.APPEND
    operation = Operation.DELETE if removed and not added else operation
    with SingleCommit(table) as transaction:
        producer = Replacement(
            operation, transaction, table.io, snapshot_properties=dict(properties)
        )
        producer.keeps_content = keeps_content
        with producer:
            for file in removed:
                producer.delete_data_file(file)
            for file in added:
                producer.append_data_file(file)
        if change is not None:
            transaction.set_properties({change.name: change.value})
    snapshot = table.snapshot_by_id(producer.snapshot_id)
    if snapshot is None:
        raise PermanentError(
            f"The commit to {'.'.join(table.name())} is not in its metadata; "
            "this is a fault of the catalog."
        )
    return Publication.of(snapshot)
