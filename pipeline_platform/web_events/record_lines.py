"""A file's records as Arrow batches: split by bytes, never by a loop over lines.

A record is a line; of JSON events several may follow each other on one line. What no text column
can hold, or what is too long or too deeply nested, stays aside as a rejected line, and the rest of
the file goes on. Memory is bounded by `READ_BYTES` and the longest line that is allowed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.ahead import ahead
from pipeline_platform.ingestion.content import compression_of, open_content
from pipeline_platform.ingestion.delivery_errors import WrongEncodingError
from pipeline_platform.ingestion.rejected_lines import RejectedLine, RejectedLines

READ_BYTES = 1024 * 1024
SHOWN_BYTES = 4096
"""How much of a record that is too long is kept beside the reason; the file keeps it all."""

LINES = pa.schema(
    [
        pa.field("line_number", pa.int64(), nullable=False),
        pa.field("raw", pa.string_view(), nullable=False),
    ]
)
_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_ADJACENT_OBJECTS = re.compile(rb"\}[ \t]*\{")
# An open string ends with the record, and nothing is given back: a hostile record costs no more.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_INLINE = 12
_VIEW = np.dtype([("length", "<i4"), ("prefix", "u1", 4), ("buffer", "<i4"), ("place", "<i4")])
_IS_BLANK = np.zeros(256, dtype=bool)
_IS_BLANK[list(b" \t\r\n")] = True
_MAY_FOLLOW_OBJECT = np.zeros(256, dtype=bool)
_MAY_FOLLOW_OBJECT[list(b"} \t")] = True
Offsets = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class RecordLines:
    """The records of one file, read once by `batches()`; then `count` and `rejected` are complete.

    `count` holds every record, rejected ones included; blank lines are none. A batch has the
    columns of LINES, without the blanks around a record. `line_number` counts lines, and where
    objects share a line it counts them.
    """

    def __init__(
        self,
        path: Path,
        file_name: str,
        *,
        are_objects: bool,
        max_line_bytes: int,
        max_json_depth: int,
    ) -> None:
        self.rejected = RejectedLines()
        self.count = 0
        self.failure: Exception | None = None
        self._path = path
        self._file_name = file_name
        self._are_objects = are_objects
        self._max_line_bytes = max_line_bytes
        self._max_json_depth = max_json_depth
        self._next_number = 1

    def stream(self) -> object:
        """Return the batches as a capsule of Arrow's C stream that DuckDB pulls from, once.

        A RecordBatchReader DuckDB would read through a scanner of Arrow's, which reads ahead of it
        by up to a gigabyte. The next lines are split while DuckDB works on those before them.
        """
        reader = pa.RecordBatchReader.from_batches(LINES, ahead(self.batches()))
        return reader.__arrow_c_stream__()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good records; raises the subclasses of DeliveryError.

        One that comes late (the end of a compressed stream is missing) means that nothing counts.
        """
        try:
            for block in self._blocks():
                batch = self._batch(block)
                if batch.num_rows:
                    yield batch
        except Exception as error:
            self.failure = error
            raise

    def _blocks(self) -> Iterator[bytes]:
        """Yield whole records, some megabytes at a time, without those that are too long."""
        compression = compression_of(self._path, self._file_name)
        with open_content(self._path, self._file_name, compression) as content:
            carry, is_start, is_skipping = b"", True, False
            while piece := content.read(READ_BYTES):
                if is_start:
                    piece, is_start = self._without_mark(piece), False
                if is_skipping:
                    end = piece.find(b"\n") + 1
                    if not end:
                        continue
                    piece, is_skipping = piece[end:], False
                buffer = carry + piece
                last = self._last_end(buffer)
                if last:
                    yield buffer[:last]
                carry = buffer[last:]
                if len(carry) > self._max_line_bytes:
                    self._reject_long(carry)
                    carry, is_skipping = b"", True
            if carry:
                yield carry + b"\n"

    def _without_mark(self, piece: bytes) -> bytes:
        head = piece[:1000]
        if head.startswith(_OTHER_MARKS) or head.count(0) * 4 > len(head):
            raise WrongEncodingError(
                f"{self._file_name} is written in UTF-16 or UTF-32, or is no text; ask for UTF-8."
            )
        return piece.removeprefix(_UTF8_MARK)

    def _last_end(self, buffer: bytes) -> int:
        """Return where the last whole record of a buffer ends."""
        last = buffer.rfind(b"\n") + 1
        if self._are_objects and _ADJACENT_OBJECTS.search(buffer, last):
            ends = _object_ends(np.frombuffer(buffer, np.uint8)[last:])
            if len(ends):
                last += int(ends[-1])
        return last

    def _batch(self, block: bytes) -> pa.RecordBatch:
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == ord("\n")) + 1
        openers = _openers(data) if self._are_objects else np.empty(0, np.int64)
        if _may_be_adjacent(data, openers) and _ADJACENT_OBJECTS.search(block):
            ends = np.union1d(ends, _object_ends(data))
        if not len(ends) or ends[-1] != len(block):
            ends = np.append(ends, len(block))
        offsets = np.concatenate([[0], ends])
        numbers = np.arange(self._next_number, self._next_number + len(ends))
        self._next_number += len(ends)
        first, last = _trimmed(data, offsets)
        is_blank = first >= last
        is_bad = np.zeros(len(ends), dtype=bool)
        for line, rule, reason in self._faults(block, data, offsets, openers):
            if not (is_bad[line] or is_blank[line]):
                is_bad[line] = True
                self._reject(int(numbers[line]), rule, reason, block[offsets[line] : ends[line]])
        self.count += int(len(ends) - is_blank.sum())
        kept = ~(is_bad | is_blank)
        texts = _texts(block, data, first[kept], last[kept])
        return pa.record_batch([pa.array(numbers[kept]), texts], LINES)

    def _faults(
        self, block: bytes, data: Bytes, offsets: Offsets, openers: Offsets
    ) -> Iterator[tuple[int, str, str]]:
        """Yield line, rule and reason of what can't be read; the first one of a line counts."""
        lengths = np.diff(offsets)
        for line in np.flatnonzero(lengths > self._max_line_bytes + 1).tolist():
            yield line, "line_too_long", _too_long(self._max_line_bytes)
        if b"\x00" in block:
            for line in np.unique(_line_of(np.flatnonzero(data == 0), offsets)).tolist():
                yield line, "nul_character", "The record holds a NUL character."
        for line in _undecodable(block, offsets):
            yield line, "undecodable", "The record holds bytes that are not UTF-8."
        for line in self._deep(block, offsets, openers):
            yield (
                line,
                "nested_too_deep",
                f"The record is nested deeper than {self._max_json_depth} levels.",
            )

    def _deep(self, block: bytes, offsets: Offsets, openers: Offsets) -> Iterator[int]:
        """Find records nested too deeply; only those with enough brackets are looked at closely."""
        counts = np.diff(np.searchsorted(openers, offsets))
        for line in np.flatnonzero(counts > self._max_json_depth).tolist():
            if _depth(block[offsets[line] : offsets[line + 1]]) > self._max_json_depth:
                yield line

    def _reject_long(self, record: bytes) -> None:
        self.count += 1
        reason = _too_long(self._max_line_bytes)
        self._reject(self._next_number, "line_too_long", reason, record)
        self._next_number += 1

    def _reject(self, number: int, rule: str, reason: str, record: bytes) -> None:
        shown = record[:SHOWN_BYTES] if rule == "line_too_long" else record
        self.rejected.append(RejectedLine(number, rule, reason, None, printable(shown)))


def printable(record: bytes) -> str:
    r"""Return a record as text that any database can store: what is no text stands as `\x..`."""
    text = record.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    return text.replace("\x00", "\\x00")


def _too_long(limit: int) -> str:
    return f"The record is longer than {limit:,} bytes."


def _openers(data: Bytes) -> Offsets:
    """Return where braces and brackets open: with this bit set both are the same byte."""
    return np.flatnonzero((data | 0x20) == ord("{"))


def _may_be_adjacent(data: Bytes, openers: Offsets) -> bool:
    """Tell whether a brace or blank stands before any opener, as in `} {` or `: {`."""
    return bool(_MAY_FOLLOW_OBJECT[data[openers - 1]].any())


def _line_of(positions: Offsets, offsets: Offsets) -> Offsets:
    """Return for each position in which line it lies."""
    return np.searchsorted(offsets, positions, side="right") - 1


def _trimmed(data: Bytes, offsets: Offsets) -> tuple[Offsets, Offsets]:
    """Return where each line begins and ends without the blanks and line ends around it."""
    first, last = offsets[:-1].copy(), offsets[1:].copy()
    unsure = np.flatnonzero(_IS_BLANK[data[last - 1]])
    while len(unsure):
        last[unsure] -= 1
        unsure = unsure[(last[unsure] > first[unsure]) & _IS_BLANK[data[last[unsure] - 1]]]
    unsure = np.flatnonzero((first < last) & _IS_BLANK[data[first]])
    while len(unsure):
        first[unsure] += 1
        unsure = unsure[(first[unsure] < last[unsure]) & _IS_BLANK[data[first[unsure]]]]
    return first, last


def _texts(block: bytes, data: Bytes, first: Offsets, last: Offsets) -> pa.StringViewArray:
    """Return parts of a block as texts that point into it: nothing is copied.

    A view is length, first four bytes, number of the buffer and place; a text of up to twelve
    bytes stands in it whole.
    """
    lengths = last - first
    views = np.zeros(len(first), dtype=_VIEW)
    views["length"], views["place"] = lengths, first
    views["prefix"] = _bytes_from(data, first, 4)
    short = np.flatnonzero(lengths <= _INLINE)
    inline = _bytes_from(data, first[short], _INLINE)
    inline[np.arange(_INLINE) >= lengths[short, None]] = 0
    views.view(np.uint8).reshape(-1, _VIEW.itemsize)[short, 4:] = inline
    buffers = [None, pa.py_buffer(views), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.string_view(), len(first), buffers)


def _bytes_from(data: Bytes, first: Offsets, count: int) -> Bytes:
    """Return so many bytes from each place on; beyond the end the last byte is repeated."""
    places = np.minimum(first[:, None] + np.arange(count), len(data) - 1)
    found: Bytes = data[places]
    return found


def _undecodable(block: bytes, offsets: Offsets) -> Iterator[int]:
    """Find lines that are not UTF-8; only in a block that is not are they looked at one by one."""
    if _is_utf8(block):
        return
    not_ascii = np.flatnonzero(np.frombuffer(block, np.uint8) > 127)
    for line in np.unique(_line_of(not_ascii, offsets)).tolist():
        if not _is_utf8(block[offsets[line] : offsets[line + 1]]):
            yield line


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(record: bytes) -> int:
    depth = deepest = 0
    for byte in _STRING.sub(b"", record).translate(None, _NO_BRACKETS):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _object_ends(data: Bytes) -> Offsets:
    """Return where a top-level object ends and another one begins on the same line.

    Braces in strings don't count: whether a brace lies in one is told by the number of unescaped
    quotes before it on its line. A line feed ends every record, so a broken one spoils only its
    own line.
    """
    feeds = np.flatnonzero(data == ord("\n"))
    quotes = _unescaped(data, np.flatnonzero(data == ord('"')))
    braces = np.flatnonzero((data == ord("{")) | (data == ord("}")))
    line = np.searchsorted(feeds, braces)
    starts = np.concatenate([[0], feeds + 1])
    before = np.searchsorted(quotes, braces) - np.searchsorted(quotes, starts)[line]
    braces, line = braces[before % 2 == 0], line[before % 2 == 0]
    steps = np.where(data[braces] == ord("{"), 1, -1)
    depth = np.cumsum(steps)
    first = np.searchsorted(braces, starts)
    above = np.concatenate([[0], depth])[first][line]
    is_end = (steps == -1) & (depth - above == 0)
    # The next brace opens another object on the same line.
    follows = np.append((line[1:] == line[:-1]) & (steps[1:] == 1), False)
    ends: Offsets = braces[is_end & follows] + 1
    return ends


def _unescaped(data: Bytes, quotes: Offsets) -> Offsets:
    """Keep the quotes before which an even number of backslashes stands."""
    is_slash = data == ord("\\")
    begins = np.flatnonzero(is_slash[1:] & ~is_slash[:-1]) + 1
    begins = np.concatenate([[0], begins]) if is_slash[:1].any() else begins
    behind = quotes[is_slash[quotes - 1] & (quotes > 0)]
    run = np.searchsorted(begins, behind, side="right") - 1
    escaped = behind[(behind - begins[run]) % 2 == 1]
    return np.setdiff1d(quotes, escaped, assume_unique=True)
