"""A batch as files, one per shard, that are read, archived and replayed as any delivered file is.

A file holds the records' bytes as lines: a record may hold several lines, and one that does not
end in a line break gets one. It is gzip, with the file's whole name in its header: so two batches
that hold the same records are two contents, and the same batch read again is the same content.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from pipeline_platform.streams.reading import Record

_KIND = "kinesis"
_LEVEL = 6
_HEADER_WITH_NAME = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True)
class BatchFile:
    """What one batch holds of one shard; `arrived_at` is when its last record arrived (UTC)."""

    name: str
    data: bytes
    arrived_at: datetime


def batch_folder(stream: str) -> str:
    """Return the folder that the names of a stream's batches begin with."""
    return f"{_KIND}/{stream}/"


def batch_files(stream: str, records: Iterable[Record]) -> list[BatchFile]:
    """Return the files of a batch, named `kinesis/<stream>/<shard>/<first>-<last>.gz`.

    First and last are sequence numbers. Within a shard the records keep their order.
    """
    files = []
    by_shard = sorted(records, key=lambda record: record.shard)
    for shard, grouped in groupby(by_shard, key=lambda record: record.shard):
        own = list(grouped)
        first, last = own[0].sequence_number, own[-1].sequence_number
        name = f"{batch_folder(stream)}{shard}/{first}-{last}.gz"
        lines = b"".join(
            record.data if record.data.endswith(b"\n") else record.data + b"\n" for record in own
        )
        arrived_at = max(record.arrived_at for record in own)
        files.append(BatchFile(name, _compressed(name, lines), arrived_at))
    return files


def is_batch_name(name: str) -> bool:
    """Tell whether a file's name is that of a stream's batch."""
    return name.startswith(f"{_KIND}/")


def _compressed(name: str, content: bytes) -> bytes:
    """Return gzip of the content (RFC 1952); Python's module would leave out the name's folders."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(content) + deflate.flush()
    ending = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return _HEADER_WITH_NAME + name.removesuffix(".gz").encode() + b"\0" + body + ending
