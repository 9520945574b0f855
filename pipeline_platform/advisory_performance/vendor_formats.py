"""How a vendor's file is laid out: delimited, fixed width or JSON Lines (SA-9)."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline_platform.ingestion import mappings

RecordType = Literal["combined", "valuation", "flow", "return"]
Encoding = Literal["utf-8", "ascii", "latin-1", "cp1252", "iso-8859-15"]


class FrozenModel(BaseModel):
    """Part of a mapping: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileName(mappings.FileName):
    """Which files are this vendor's.

    The pattern's group `date`, if it has one, is read by `date_format`.
    """

    date_format: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        groups = re.compile(self.pattern).groupindex
        if ("date" in groups) != (self.date_format is not None):
            raise ValueError("the pattern's group `date` and date_format need each other")
        return self


class Delimited(FrozenModel):
    """Text with one header line and a delimiter; RFC 4180 quoting, quotes doubled inside.

    A record may span lines inside quotes.
    """

    kind: Literal["delimited"]
    encoding: Encoding = "utf-8"
    compression: Literal["none", "gzip"] = "none"
    delimiter: str = Field(default=",", pattern=r"^[^\r\n\"]$")
    quote: str = Field(default='"', pattern=r"^[\"']$")


class JsonLines(FrozenModel):
    """One JSON object per line; a column is a key, or a dotted path into nested objects."""

    kind: Literal["json_lines"]
    encoding: Literal["utf-8"] = "utf-8"
    compression: Literal["none", "gzip"] = "none"


class Position(FrozenModel):
    """A field of a fixed-width record: first character counted from 1, and width."""

    start: int = Field(ge=1)
    width: int = Field(ge=1)


class DataRecord(FrozenModel):
    """A kind of data record: its code, what it is, and where its columns stand.

    Padding blanks around a value are removed when it is read.
    """

    code: str
    record_type: RecordType
    columns: dict[str, Position]


class Trailer(FrozenModel):
    """The last record; `row_count` counts data records, `control_total` sums columns of them.

    The total is written with the mapping's number format; text that is no number adds nothing.
    """

    code: str
    row_count: Position
    control_total: Position | None = None
    control_columns: tuple[str, ...] = ()


class FixedWidth(FrozenModel):
    """Lines of `width` characters whose `record_code` says which record they are.

    The first record is the header (`header_code`), the last one the trailer.
    """

    kind: Literal["fixed_width"]
    encoding: Encoding = "ascii"
    compression: Literal["none", "gzip"] = "none"
    width: int = Field(ge=1, le=10_000)
    record_code: Position
    header_code: str
    records: tuple[DataRecord, ...] = Field(min_length=1)
    trailer: Trailer

    @model_validator(mode="after")
    def _fits(self) -> Self:
        codes = [self.header_code, self.trailer.code, *(record.code for record in self.records)]
        if len(set(codes)) < len(codes):
            raise ValueError("two records have the same code")
        spans = [self.record_code, self.trailer.row_count]
        spans += [self.trailer.control_total] if self.trailer.control_total else []
        spans += [position for record in self.records for position in record.columns.values()]
        if any(span.start + span.width - 1 > self.width for span in spans):
            raise ValueError(f"a position reaches beyond the width of {self.width}")
        return self
