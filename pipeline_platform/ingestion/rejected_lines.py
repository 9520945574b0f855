"""Lines that stay out of bronze, kept for quarantine without holding them all in memory."""

from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.spooled_rows import SpooledRows


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


class RejectedLines(SpooledRows[RejectedLine]):
    """The rejected lines of one file, in their order."""

    def __init__(self, temp_folder: Path | None = None) -> None:
        super().__init__(RejectedLine, temp_folder=temp_folder)
