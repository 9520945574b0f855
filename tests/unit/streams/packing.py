"""Records packed into one as Amazon's producer library does it."""

import hashlib

from pipeline_platform.streams.aggregation import MAGIC


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(records: list[bytes]) -> bytes:
    keys = field(1, b"partition key")
    parts = [field(3, varint(1 << 3) + varint(0) + field(3, data)) for data in records]
    return keys + b"".join(parts)


def packed(records: list[bytes]) -> bytes:
    content = message(records)
    return MAGIC + content + hashlib.md5(content).digest()
