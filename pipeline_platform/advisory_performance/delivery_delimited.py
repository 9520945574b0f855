"""Records of delimited text (RFC 4180): header, quotes, records over several lines.

A line without a quote is split as it is. A line with an odd number of quotes opens a record that
may go on over the next lines; if what follows does not make a whole record, that one line is
rejected and reading goes on with the next line, so that a stray quote never swallows its
neighbours.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.delivery_chunks import Chunk, quoted, rejected_line
from pipeline_platform.advisory_performance.delivery_lines import (
    LINE_LIMIT_BYTES,
    TextBlock,
    text_fault,
)
from pipeline_platform.advisory_performance.vendor_formats import Delimited
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.ingestion.delivery_errors import (
    DuplicateHeaderError,
    EmptyFileError,
    MissingColumnError,
    UnknownColumnError,
    UnreadableHeaderError,
    WrongEncodingError,
)
from pipeline_platform.ingestion.rejected_lines import RejectedLine

RECORD_LIMIT_LINES = 50

csv.field_size_limit(LINE_LIMIT_BYTES * 2)


def split_fields(record: str, layout: Delimited) -> list[str] | None:
    """Return the fields of one record, or None if its quoting is broken."""
    if layout.quote not in record:
        return record.split(layout.delimiter)
    reader = csv.reader((record,), delimiter=layout.delimiter, quotechar=layout.quote, strict=True)
    try:
        fields = next(reader)
    except (csv.Error, StopIteration):
        return None
    return fields


def check_header(header: Sequence[str], mapping: VendorMapping, file_name: str) -> None:
    """Raise when the header's columns are not those of the mapping (SA-9).

    Raises DuplicateHeaderError, MissingColumnError, UnknownColumnError.
    """
    needed = mapping.needed_columns
    if not needed & set(header):
        raise MissingColumnError(
            f"{file_name} has no header with the mapping's columns ({_listed(sorted(needed))}); "
            f"add it, or correct the delimiter in {mapping.vendor}.yaml."
        )
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates:
        raise DuplicateHeaderError(
            f"{file_name}: the header names {_listed(duplicates)} twice; ask for a correct file."
        )
    missing = sorted(needed - set(header))
    unknown = sorted(set(header) - mapping.known_columns)
    if missing:
        found = f" and holds {_listed(unknown)} instead" if unknown else ""
        raise MissingColumnError(
            f"{file_name}: the header lacks {_listed(missing)}{found}; ask {mapping.display_name} "
            f"or correct the mapping {mapping.vendor}.yaml (`vendor check` suggests how)."
        )
    if unknown:
        raise UnknownColumnError(
            f"{file_name}: the mapping {mapping.vendor}.yaml does not know {_listed(unknown)}; "
            f"add it to columns or ignored_columns (`vendor check` suggests how)."
        )


class DelimitedReader:
    """Splits the lines of one delimited file; used once."""

    def __init__(self, mapping: VendorMapping, layout: Delimited, file_name: str) -> None:
        self.header: list[str] | None = None
        self._mapping = mapping
        self._layout = layout
        self._file_name = file_name

    def chunks(self, blocks: Iterator[TextBlock]) -> Iterator[Chunk]:
        """Yield the records below the header; raise the header's errors (see `check_header`)."""
        waiting: list[str] = []
        is_clean = True
        number = 1
        for block in blocks:
            number = block.first_line_number - len(waiting)
            lines = waiting + block.lines
            is_clean = block.is_clean and (is_clean or not waiting)
            if self.header is None:
                skipped = self._read_header(lines)
                number, lines = number + skipped, lines[skipped:]
            chunk, waiting = self._chunk(number, lines, is_clean, is_last=False)
            number += len(lines) - len(waiting)
            yield chunk
        if waiting:
            yield self._chunk(number, waiting, is_clean, is_last=True)[0]
        if self.header is None:
            raise EmptyFileError(f"{self._file_name} holds nothing but blank lines.")

    def _read_header(self, lines: list[str]) -> int:
        """Return how many lines the header and blank lines before it take."""
        for index, line in enumerate(lines):
            record = line.removesuffix("\r")
            if not record.strip():
                continue
            if text_fault(record):
                raise WrongEncodingError(
                    f"{self._file_name}: the header is not written in {self._layout.encoding}; "
                    f"ask for that encoding or correct the mapping {self._mapping.vendor}.yaml."
                )
            names = split_fields(record, self._layout)
            if names is None:
                raise UnreadableHeaderError(
                    f"{self._file_name}: the quotes of the header are broken; ask for a new file."
                )
            header = [name.strip() for name in names]
            check_header(header, self._mapping, self._file_name)
            self.header = header
            return index + 1
        return len(lines)

    def _chunk(
        self, first: int, lines: list[str], is_clean: bool, *, is_last: bool
    ) -> tuple[Chunk, list[str]]:
        """Return the records and the lines that wait for more."""
        if self.header is None or not lines:
            return Chunk(), []
        text = "\n".join(lines)
        records = [line.removesuffix("\r") for line in lines] if "\r" in text else lines
        if is_clean and self._layout.quote not in text:
            return self._plain_chunk(first, records), []
        rows = self._quoted_rows(records) if is_clean else None
        if rows is not None:
            found = _Rows(list(range(first, first + len(lines))), records, rows)
            return self._chunk_of(found), []
        return self._careful_chunk(first, lines, is_clean=is_clean, is_last=is_last)

    def _plain_chunk(self, first: int, lines: list[str]) -> Chunk:
        """Split lines without quotes, all at once."""
        split = pc.split_pattern(pa.array(lines, pa.string()), self._layout.delimiter)
        width = len(self.header or ())
        is_whole = pc.equal(pc.list_value_length(split), width)
        if pc.all(is_whole).as_py():
            return Chunk(range(first, first + len(lines)), lines, self._strided(split))
        rejected = []
        for row in pc.indices_nonzero(pc.invert(is_whole)).to_pylist():
            if lines[row].strip():
                count = len(split[row])
                rejected.append(self._ragged(first + row, lines[row], count))
        kept = pc.indices_nonzero(is_whole).to_pylist()
        return Chunk(
            [first + row for row in kept],
            [lines[row] for row in kept],
            self._strided(split.filter(is_whole)),
            rejected=rejected,
        )

    def _strided(self, split: pa.ListArray) -> dict[str, pa.Array]:
        header = self.header or []
        values, size, width = split.flatten(), len(split), len(header)
        return {
            name: values.take(pa.array(np.arange(start, size * width, width)))
            for start, name in enumerate(header)
        }

    def _quoted_rows(self, lines: list[str]) -> list[list[str]] | None:
        """Return one row per line if that is how they read, else None."""
        try:
            rows = list(
                csv.reader(
                    lines,
                    delimiter=self._layout.delimiter,
                    quotechar=self._layout.quote,
                    strict=True,
                )
            )
        except csv.Error:
            return None
        return rows if len(rows) == len(lines) else None

    def _chunk_of(self, found: "_Rows") -> Chunk:
        """Return whole rows as a chunk; reject ragged ones, skip blank lines."""
        header = self.header or []
        whole = [index for index, row in enumerate(found.rows) if len(row) == len(header)]
        if len(whole) < len(found.rows):
            for number, record, row in zip(found.numbers, found.records, found.rows, strict=True):
                if len(row) != len(header) and record.strip():
                    found.rejected.append(self._ragged(number, record, len(row)))
            found.numbers = [found.numbers[index] for index in whole]
            found.records = [found.records[index] for index in whole]
            found.rows = [found.rows[index] for index in whole]
        columns = zip(*found.rows, strict=True) if found.rows else ((),) * len(header)
        arrays = {
            name: pa.array(values, pa.string())
            for name, values in zip(header, columns, strict=True)
        }
        return Chunk(found.numbers, found.records, arrays, rejected=found.rejected)

    def _ragged(self, number: int, record: str, count: int) -> RejectedLine:
        reason = f"has {count} fields, the header has {len(self.header or ())}."
        return rejected_line(number, record, "ragged_row", reason)

    def _careful_chunk(
        self, first: int, lines: list[str], *, is_clean: bool, is_last: bool
    ) -> tuple[Chunk, list[str]]:
        """Split line by line: records over several lines, broken quotes, faulty text."""
        found = _Rows([], [], [])
        index = 0
        while index < len(lines):
            number, record = first + index, lines[index].removesuffix("\r")
            fields = split_fields(record, self._layout)
            taken = 1
            if fields is None and record.count(self._layout.quote) % 2:
                taken, joined = self._joined(lines, index)
                if not taken and not is_last:
                    return self._chunk_of(found), lines[index:]
                fields = split_fields(joined, self._layout) if taken else None
                if fields is not None and len(fields) == len(self.header or ()):
                    record = joined
                else:
                    fields, taken = None, 1
            index += taken
            fault = None if is_clean else text_fault(record)
            if fields is None and not fault:
                fault = ("malformed_quoting", f"has broken quotes: {quoted(record)}.")
            if fault:
                found.rejected.append(rejected_line(number, record, *fault))
            elif fields is not None:
                found.numbers.append(number)
                found.records.append(record)
                found.rows.append(fields)
        return self._chunk_of(found), []

    def _joined(self, lines: list[str], start: int) -> tuple[int, str]:
        """Return how many lines make the record and its text; (0, "") if more lines are needed.

        (1, "") says that no number of lines within the limits makes a record.
        """
        quotes = size = 0
        for count, line in enumerate(lines[start : start + RECORD_LIMIT_LINES], 1):
            quotes += line.count(self._layout.quote)
            size += len(line)
            if size > LINE_LIMIT_BYTES:
                return 1, ""
            if quotes % 2 == 0:
                return count, "\n".join(lines[start : start + count]).removesuffix("\r")
        return int(len(lines) - start >= RECORD_LIMIT_LINES), ""


@dataclass
class _Rows:
    numbers: list[int]
    records: list[str]
    rows: list[list[str]]
    rejected: list[RejectedLine] = field(default_factory=list)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
