"""What every format's reader hands on: records split into columns, and those that were not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline_platform.advisory_performance.delivery_lines import printable
from pipeline_platform.advisory_performance.vendor_formats import RecordType
from pipeline_platform.ingestion.rejected_lines import RejectedLine


@dataclass
class Chunk:
    """Some records of a file, column by column, as text.

    `columns`: vendor column -> one text per record (null where the record has no such value).
    `record_type`: of all of them, where the layout tells it. `records`: the text as delivered.
    `rejected`: lines between them that can't be split or decoded.
    """

    line_numbers: Sequence[int] = ()
    records: Sequence[str] = ()
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    record_type: RecordType | None = None
    rejected: list[RejectedLine] = field(default_factory=list)


def rejected_line(
    line_number: int, record: str, rule: str, reason: str, column: str | None = None
) -> RejectedLine:
    """Return a rejected line with a printable record and a reason that names the line."""
    return RejectedLine(
        line_number=line_number,
        rule=rule,
        reason=f"Line {line_number} {reason}",
        column=column,
        record=printable(record),
    )


def quoted(text: str) -> str:
    """Return text for a reason: printable, quoted and at most 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
