"""Lines of a delivered file, streamed: decompression, line limit, encoding, line numbers.

Whatever the file holds, at most a few megabytes of it are in memory: a line longer than the
limit ends the reading, however long it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.advisory_performance.vendor_formats import Delimited, FixedWidth, JsonLines
from pipeline_platform.ingestion.content import Content, compression_of, open_content
from pipeline_platform.ingestion.delivery_errors import (
    EmptyFileError,
    LineTooLongError,
    NotGzipError,
    UnexpectedCompressionError,
    WrongEncodingError,
)

LINE_LIMIT_BYTES = 1_048_576
READ_BYTES = 256 * 1024
BLOCK_BYTES = 1024 * 1024
BLOCK_LINES = 20_000

_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


@dataclass(frozen=True)
class TextBlock:
    """Consecutive physical lines without their line feed; a carriage return is still there.

    `is_clean` is false when a line holds a NUL or bytes that the encoding does not have; such
    bytes stand as lone surrogates, so `text_fault` and `printable` can tell them.
    """

    first_line_number: int
    lines: list[str]
    is_clean: bool


def read_blocks(
    path: Path,
    file_name: str,
    layout: Delimited | FixedWidth | JsonLines,
    max_line_bytes: int = LINE_LIMIT_BYTES,
) -> Iterator[TextBlock]:
    """Yield the file's lines in blocks of bounded size.

    Raises EmptyFileError, NotGzipError, UnexpectedCompressionError, TruncatedGzipError,
    CorruptGzipError, WrongEncodingError (byte order marks), LineTooLongError: the last ones may
    come after blocks were handed out, and then nothing of the file counts.
    """
    _check_compression(path, file_name, layout.compression)
    line_number = 1
    is_start = True
    with open_content(path, file_name, layout.compression) as source:
        for data in _whole_lines(source, file_name, max_line_bytes):
            block = _without_mark(data, file_name, layout.encoding) if is_start else data
            is_start = False
            for text_block in _decoded(block, layout.encoding, line_number):
                yield text_block
                line_number = text_block.first_line_number + len(text_block.lines)


def text_fault(record: str) -> tuple[str, str] | None:
    """Return rule and reason when a record holds a NUL or undecodable bytes."""
    if "\x00" in record:
        return "nul_character", "holds a NUL character."
    if any("\ud800" <= character <= "\udfff" for character in record):
        return "undecodable", "holds bytes or characters that the file's encoding does not have."
    return None


def printable(record: str) -> str:
    r"""Return text that any database can store: NUL and undecodable bytes as `\x..`."""
    if text_fault(record) is None:
        return record
    raw = record.encode("utf-8", "surrogateescape" if _is_escaped(record) else "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def _is_escaped(record: str) -> bool:
    surrogates = [c for c in record if "\ud800" <= c <= "\udfff"]
    return all("\udc80" <= c <= "\udcff" for c in surrogates)


def _check_compression(path: Path, file_name: str, wanted: str) -> None:
    found = compression_of(path, file_name)
    if wanted == "gzip" and found != "gzip":
        raise NotGzipError(f"{file_name} is not gzip although its mapping says so.")
    if wanted == "none" and found == "gzip":
        raise UnexpectedCompressionError(
            f"{file_name} is gzip although its mapping says plain text."
        )


def _whole_lines(source: Content, file_name: str, max_line_bytes: int) -> Iterator[bytes]:
    """Yield about BLOCK_BYTES of whole lines at a time; the last one may lack its line feed."""
    pieces: list[bytes] = []
    size = 0
    carry = b""
    has_any = False
    while piece := source.read(READ_BYTES):
        has_any = True
        buffer = carry + piece
        if _longest_line(buffer, max_line_bytes) > max_line_bytes:
            raise LineTooLongError(
                f"{file_name} holds a line longer than {max_line_bytes:,} bytes; "
                f"it is no text file of records: ask the vendor for a correct one."
            )
        last = buffer.rfind(b"\n") + 1
        carry = buffer[last:]
        pieces.append(buffer[:last])
        size += last
        if size >= BLOCK_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    if not has_any:
        raise EmptyFileError(f"{file_name} is empty; ask the vendor to deliver it again.")
    rest = b"".join([*pieces, carry])
    if rest:
        yield rest


def _longest_line(buffer: bytes, limit: int) -> int:
    """Return the length of the longest line, looking closely only where one could be too long."""
    first = buffer.find(b"\n")
    if first < 0 or first > limit or limit >= READ_BYTES:
        return len(buffer) if first < 0 else first
    return max(map(len, buffer.split(b"\n")))


def _without_mark(data: bytes, file_name: str, encoding: str) -> bytes:
    head = data[:1000]
    has_other_mark = head.startswith(_OTHER_BOMS)
    if has_other_mark or head.count(b"\x00") * 4 > len(head):
        raise WrongEncodingError(
            f"{file_name} is written in UTF-16 or UTF-32, its mapping says {encoding}; "
            f"ask for {encoding} or correct the mapping."
        )
    if not head.startswith(_UTF8_BOM):
        return data
    if encoding not in {"utf-8", "ascii"}:
        raise WrongEncodingError(
            f"{file_name} says that it is UTF-8 (byte order mark), its mapping says {encoding}; "
            f"ask for {encoding} or correct the mapping."
        )
    return data[len(_UTF8_BOM) :]


def _decoded(data: bytes, encoding: str, line_number: int) -> Iterator[TextBlock]:
    try:
        text = data.decode(encoding)
        is_clean = "\x00" not in text
    except UnicodeDecodeError:
        text = data.decode(encoding, "surrogateescape")
        is_clean = False
    lines = text.removesuffix("\n").split("\n")
    for start in range(0, len(lines), BLOCK_LINES):
        yield TextBlock(line_number + start, lines[start : start + BLOCK_LINES], is_clean)
