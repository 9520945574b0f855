"""Records of JSON Lines: one object per line, nested keys as dotted columns, numbers as text."""

import json
from collections.abc import Iterator

import pyarrow as pa

from pipeline_platform.advisory_performance.delivery_chunks import Chunk, quoted, rejected_line
from pipeline_platform.advisory_performance.delivery_lines import TextBlock, text_fault
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.ingestion.delivery_errors import EmptyFileError


class RecordFaultError(Exception):
    """Why one line is no record: `fault` is rule, reason and column."""

    def __init__(self, rule: str, reason: str, column: str | None = None) -> None:
        super().__init__(rule, reason, column)
        self.fault = (rule, reason, column)


_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=str
)
"""Keeps numbers as the vendor wrote them: '0.10' stays '0.10', whatever its length.

An object becomes its pairs, so that a key that stands twice is seen.
"""


def flat_record(record: str, *, is_clean: bool = True) -> dict[str, str | None]:
    """Return dotted column -> text of one line; raise RecordFaultError for anything else."""
    fault = None if is_clean else text_fault(record)
    if fault:
        raise RecordFaultError(*fault)
    text = record.strip(" \t")
    flat: dict[str, str | None] = {}
    try:
        pairs, end = _DECODER.scan_once(text, 0)  # type: ignore[attr-defined]
        if end != len(text) or not isinstance(pairs, tuple):
            raise RecordFaultError("malformed_json", "is not one JSON object.")
        _flatten(pairs, "", flat)
    except (json.JSONDecodeError, StopIteration, RecursionError):
        raise RecordFaultError("malformed_json", "is not valid JSON.") from None
    if "\\u" in record:
        for name, value in flat.items():
            fault = text_fault(name + (value or ""))
            if fault:
                raise RecordFaultError(*fault)
    return flat


def _flatten(
    pairs: tuple[tuple[str, object], ...], prefix: str, flat: dict[str, str | None]
) -> None:
    for key, value in pairs:
        name = prefix + key
        if isinstance(value, tuple):
            _flatten(value, name + ".", flat)
            continue
        if name in flat:
            raise RecordFaultError("duplicate_key", f"holds the key {quoted(name)} twice.")
        if value is None or isinstance(value, str):
            flat[name] = value
        elif isinstance(value, bool):
            flat[name] = "true" if value else "false"
        else:
            reason = f"holds a list where {quoted(name)} should be a value."
            raise RecordFaultError("malformed_json", reason)


class JsonLinesReader:
    """Splits the lines of one JSON Lines file; used once."""

    def __init__(self, mapping: VendorMapping, file_name: str) -> None:
        self._known = mapping.known_columns
        self._parents = {
            name[:end] for name in self._known for end, mark in enumerate(name) if mark == "."
        }
        self._file_name = file_name

    def chunks(self, blocks: Iterator[TextBlock]) -> Iterator[Chunk]:
        """Yield the objects of each block; raise EmptyFileError if there is no line at all."""
        has_any = False
        for block in blocks:
            chunk = self._chunk(block)
            has_any = has_any or bool(chunk.records or chunk.rejected)
            yield chunk
        if not has_any:
            raise EmptyFileError(f"{self._file_name} holds nothing but blank lines.")

    def _chunk(self, block: TextBlock) -> Chunk:
        chunk = Chunk()
        numbers: list[int] = []
        records: list[str] = []
        values: dict[str, list[str | None]] = {
            name: [None] * len(block.lines) for name in self._known
        }
        for number, line in enumerate(block.lines, block.first_line_number):
            record = line.removesuffix("\r")
            if not record.strip():
                continue
            try:
                flat = flat_record(record, is_clean=block.is_clean)
                self._check_columns(flat)
            except RecordFaultError as error:
                chunk.rejected.append(rejected_line(number, record, *error.fault))
                continue
            row = len(records)
            for name, value in flat.items():
                if name in values:
                    values[name][row] = value
            numbers.append(number)
            records.append(record)
        chunk.line_numbers = numbers
        chunk.records = records
        chunk.columns = {
            name: pa.array(column[: len(records)], pa.string()) for name, column in values.items()
        }
        return chunk

    def _check_columns(self, flat: dict[str, str | None]) -> None:
        if self._known.issuperset(flat):
            return
        for name, value in flat.items():
            if name in self._known or (value is None and name in self._parents):
                continue
            reason = f"holds a key that the mapping does not know: {quoted(name)}."
            raise RecordFaultError("unknown_column", reason, name)
