"""The first lines of a file of unknown origin: compression, encoding, layout, columns (SA-54)."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_platform.advisory_performance.delivery_delimited import split_fields
from pipeline_platform.advisory_performance.delivery_json import RecordFaultError, flat_record
from pipeline_platform.advisory_performance.vendor_formats import Delimited

SAMPLE_BYTES = 256 * 1024
SAMPLE_LINES = 500
_DELIMITERS = (";", "\t", "|", ",")


@dataclass(frozen=True)
class FileSample:
    """What the first lines look like.

    `columns`: column -> its values in those lines, empty where the layout is unknown (fixed
    width can't be told from text).
    """

    lines: tuple[str, ...]
    compression: Literal["none", "gzip"]
    encoding: Literal["utf-8", "latin-1"]
    kind: Literal["delimited", "json_lines", "unknown"]
    delimiter: str | None
    columns: dict[str, list[str]]


def take_sample(path: Path) -> FileSample:
    """Read the beginning of a file; never raises for what it holds."""
    data, compression = _beginning(path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if len(data) == SAMPLE_BYTES:
        data = data[: data.rfind(b"\n") + 1]
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        encoding, text = "latin-1", data.decode("latin-1")
    lines = tuple(line.removesuffix("\r") for line in text.split("\n") if line.strip())
    lines = lines[:SAMPLE_LINES]
    if lines and lines[0].lstrip().startswith("{"):
        return FileSample(lines, compression, encoding, "json_lines", None, _json_columns(lines))
    delimiter = _delimiter(lines)
    if delimiter is None:
        return FileSample(lines, compression, encoding, "unknown", None, {})
    columns = delimited_columns(lines, delimiter)
    return FileSample(lines, compression, encoding, "delimited", delimiter, columns)


def delimited_columns(lines: Sequence[str], delimiter: str) -> dict[str, list[str]]:
    """Return header name -> values; rows of another width are left out."""
    layout = Delimited(kind="delimited", delimiter=delimiter)
    header = [name.strip() for name in split_fields(lines[0], layout) or []]
    rows = [split_fields(line, layout) or [] for line in lines[1:]]
    whole = [row for row in rows if len(row) == len(header)]
    return {name: [row[place] for row in whole] for place, name in enumerate(header)}


def _beginning(path: Path) -> tuple[bytes, Literal["none", "gzip"]]:
    with path.open("rb") as source:
        data = source.read(SAMPLE_BYTES)
    if not data.startswith(b"\x1f\x8b"):
        return data, "none"
    try:
        with gzip.open(path, "rb") as source:
            return source.read(SAMPLE_BYTES), "gzip"
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return b"", "gzip"


def _delimiter(lines: Sequence[str]) -> str | None:
    """Return the character that splits the header, and most lines alike."""
    for delimiter in sorted(_DELIMITERS, key=lambda one: -lines[0].count(one) if lines else 0):
        layout = Delimited(kind="delimited", delimiter=delimiter)
        widths = [len(split_fields(line, layout) or []) for line in lines]
        if widths and widths[0] > 1 and widths.count(widths[0]) * 2 > len(widths):
            return delimiter
    return None


def _json_columns(lines: Sequence[str]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for line in lines:
        try:
            record = flat_record(line)
        except RecordFaultError:
            continue
        for name, value in record.items():
            columns.setdefault(name, []).append(value or "")
    return columns
