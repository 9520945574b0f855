"""What any stream looks like to who reads it: batches of records, and positions by shard.

A position is the sequence number of the last record that was read from a shard, or FINISHED once
a closed shard was read to its end. A shard without a position has not been begun.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

Positions: TypeAlias = Mapping[str, str]
FINISHED = "FINISHED"


@dataclass(frozen=True)
class Limits:
    """Where a batch ends; at least one record is taken where there is one."""

    max_records: int
    max_bytes: int
    max_seconds: float


@dataclass(frozen=True)
class Record:
    """One record as it was put: `data` are its bytes, `arrived_at` (UTC) when the stream took it.

    Records that a producer packed into one share its sequence number.
    """

    shard: str
    sequence_number: str
    arrived_at: datetime
    data: bytes


@dataclass(frozen=True)
class Batch:
    """Records, in order within a shard, and the positions after them.

    `millis_behind_latest`: how far the slowest shard is behind its newest record; 0 = caught up.
    `retention_hours`: for how long the stream keeps a record; None if it does not say.
    """

    records: tuple[Record, ...]
    new_positions: Positions
    millis_behind_latest: int
    retention_hours: int | None = None


class StreamReader(Protocol):
    """A stream that can be read again from any position that it still keeps."""

    @property
    def stream(self) -> str:
        """The stream's name."""

    def read_batch(self, positions: Positions, limits: Limits) -> Batch:
        """Read on after `positions`; the same positions give the same records again.

        Raises UnavailableError if the stream does not answer or is throttled,
        InvalidSettingError if it does not exist or may not be read.
        """
