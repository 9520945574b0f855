"""Records of fixed width: header first, trailer last, row count and control total verified."""

import re
from collections.abc import Iterator
from decimal import Context, Decimal

import pyarrow as pa

from pipeline_platform.advisory_performance.delivery_chunks import Chunk, quoted, rejected_line
from pipeline_platform.advisory_performance.delivery_lines import TextBlock, text_fault
from pipeline_platform.advisory_performance.vendor_formats import DataRecord, FixedWidth, Position
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.ingestion.delivery_errors import (
    DataAfterTrailerError,
    EmptyFileError,
    MissingHeaderError,
    MissingTrailerError,
    TrailerMismatchError,
)
from pipeline_platform.ingestion.rejected_lines import RejectedLine

_EXACT = Context(prec=1000)
"""Adds without rounding whatever a record can hold in practice; exponents are no plain numbers."""


def _cut(record: str, position: Position) -> str:
    return record[position.start - 1 : position.start - 1 + position.width]


class FixedWidthReader:
    """Splits the lines of one fixed-width file and verifies its trailer; used once."""

    def __init__(self, mapping: VendorMapping, layout: FixedWidth, file_name: str) -> None:
        self._layout = layout
        self._file_name = file_name
        self._numbers = mapping.numbers
        self._by_code = {record.code: record for record in layout.records}
        self._has_header = False
        self._trailer: str | None = None
        self._row_count = 0
        self._total = Decimal(0)

    def chunks(self, blocks: Iterator[TextBlock]) -> Iterator[Chunk]:
        """Yield one chunk per kind of record and block; verify the trailer at the end.

        Raises MissingHeaderError, MissingTrailerError, DataAfterTrailerError,
        TrailerMismatchError, EmptyFileError.
        """
        for block in blocks:
            groups: dict[str, list[tuple[int, str]]] = {}
            rejected: list[RejectedLine] = []
            for index, line in enumerate(block.lines):
                record = line.removesuffix("\r")
                if not record.strip():
                    continue
                code = _cut(record, self._layout.record_code)
                if self._is_frame(code, record, block.first_line_number + index):
                    continue
                self._row_count += 1
                fault = None if block.is_clean else text_fault(record)
                fault = fault or self._layout_fault(code, record)
                if fault:
                    self._add_amounts(code, record)
                    number = block.first_line_number + index
                    rejected.append(rejected_line(number, record, *fault))
                else:
                    numbered = (block.first_line_number + index, record)
                    groups.setdefault(code, []).append(numbered)
            yield Chunk(rejected=rejected)
            for code, group in groups.items():
                yield self._chunk(self._by_code[code], group)
        self._verify()

    def _is_frame(self, code: str, record: str, number: int) -> bool:
        """Tell whether the line is header or trailer, and remember it."""
        if not self._has_header:
            if code != self._layout.header_code:
                raise MissingHeaderError(
                    f"{self._file_name}, line {number}: the first record must be the header "
                    f"{self._layout.header_code!r}; ask for the whole file."
                )
            self._has_header = True
            return True
        if self._trailer is not None:
            raise DataAfterTrailerError(
                f"{self._file_name}, line {number}: a record follows the trailer; two files may "
                f"have been joined: ask for a correct one."
            )
        if code == self._layout.trailer.code:
            self._trailer = record
            return True
        return False

    def _layout_fault(self, code: str, record: str) -> tuple[str, str] | None:
        if code not in self._by_code:
            return "unknown_record_type", f"has an unknown record code {quoted(code)}."
        if len(record) != self._layout.width:
            wanted = self._layout.width
            return "ragged_row", f"has {len(record)} characters, a record has {wanted}."
        return None

    def _chunk(self, layout: DataRecord, group: list[tuple[int, str]]) -> Chunk:
        numbers = [number for number, _ in group]
        records = [record for _, record in group]
        columns: dict[str, pa.Array] = {}
        for name, position in layout.columns.items():
            start, end = position.start - 1, position.start - 1 + position.width
            values = [record[start:end].strip(" ") for record in records]
            if name in self._layout.trailer.control_columns:
                self._total = self._sum(values)
            columns[name] = pa.array(values, pa.string())
        return Chunk(numbers, records, columns, layout.record_type)

    def _sum(self, values: list[str]) -> Decimal:
        total = self._total
        for value in values:
            number = self._numbers.plain(value)
            if number is not None:
                total = _EXACT.add(total, Decimal(number))
        return total

    def _add_amounts(self, code: str, record: str) -> None:
        """Count a rejected line's amounts too, as far as it reaches: the vendor counted them."""
        layout = self._by_code.get(code)
        for name in self._layout.trailer.control_columns:
            position = layout.columns.get(name) if layout else None
            if position and len(record) >= position.start - 1 + position.width:
                self._total = self._sum([_cut(record, position)])

    def _verify(self) -> None:
        if not self._has_header:
            raise EmptyFileError(f"{self._file_name} holds nothing but blank lines.")
        layout = self._layout.trailer
        if self._trailer is None:
            raise MissingTrailerError(
                f"{self._file_name} ends without its trailer {layout.code!r} after "
                f"{self._row_count} records: it was cut off; ask for it again."
            )
        stated = _cut(self._trailer, layout.row_count).strip()
        if not re.fullmatch(r"\d+", stated, re.ASCII) or int(stated) != self._row_count:
            raise TrailerMismatchError(
                f"{self._file_name}: the trailer states {quoted(stated)} records, the file holds "
                f"{self._row_count}; ask for it again."
            )
        if layout.control_total is None:
            return
        stated = _cut(self._trailer, layout.control_total).strip()
        control = self._numbers.plain(stated)
        if control is None or Decimal(control) != self._total:
            raise TrailerMismatchError(
                f"{self._file_name}: the trailer states a control total of {quoted(stated)}, the "
                f"records sum to {self._total}; ask for it again."
            )
