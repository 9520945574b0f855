"""Lines that stay out of bronze, kept for quarantine without holding them all in memory."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile

_MEMORY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class RejectedLine:
    r"""One record that can't be read: where, by which rule, why, and its text as delivered.

    `partition_key` is the partition 'YYYY-MM-DD' of a record with a valid day, else ''. `record`
    is the line; a NUL or undecodable byte is written as `\x..` in it.
    """

    line_number: int
    rule: str
    reason: str
    column: str | None
    record: str
    partition_key: str = ""


class RejectedLines:
    """Appendable, countable, iterable any number of times; beyond 4 MB it lies in a temp file."""

    def __init__(self, temp_folder: Path | None = None) -> None:
        self._spool = SpooledTemporaryFile(  # noqa: SIM115 (lives as long as the delivery)
            max_size=_MEMORY_BYTES, dir=str(temp_folder) if temp_folder else None
        )
        self._count = 0

    def append(self, line: RejectedLine) -> None:
        """Keep one more line."""
        self._spool.seek(0, 2)
        self._spool.write(json.dumps(asdict(line)).encode() + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RejectedLine]:
        """Yield the lines in the order in which they were rejected."""
        position = 0
        for _ in range(self._count):
            self._spool.seek(position)
            text = self._spool.readline()
            position = self._spool.tell()
            yield RejectedLine(**json.loads(text))

    def close(self) -> None:
        """Remove the temp file."""
        self._spool.close()
