"""What each partition of a table consists of, and whether its files are all there."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.lake.reading import PartitionValue, live_files, partition_value
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


@dataclass(frozen=True)
class PartitionState:
    """Files, rows and bytes of one partition in the current snapshot.

    `broken_files` are those that are gone or have another length than the snapshot says.
    """

    partition: PartitionValue
    file_count: int
    row_count: int
    total_bytes: int
    broken_files: tuple[str, ...]


def partition_states(iceberg: "Table", table: LakeTable) -> list[PartitionState]:
    """Look at every file of the current snapshot and return the partitions in order."""
    files: dict[PartitionValue, list[DataFile]] = defaultdict(list)
    for file in live_files(iceberg):
        files[partition_value(table, file.partition)].append(file)
    return [_state(iceberg, value, files[value]) for value in sorted(files, key=str)]


def _state(
    iceberg: "Table", partition: PartitionValue, files: "Sequence[DataFile]"
) -> PartitionState:
    return PartitionState(
        partition=partition,
        file_count=len(files),
        row_count=sum(file.record_count for file in files),
        total_bytes=sum(file.file_size_in_bytes for file in files),
        broken_files=tuple(file.file_path for file in files if not _is_whole(iceberg, file)),
    )


def _is_whole(iceberg: "Table", file: "DataFile") -> bool:
    found = iceberg.io.new_input(file.file_path)
    return found.exists() and len(found) == file.file_size_in_bytes
