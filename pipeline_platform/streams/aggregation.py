"""Records that Amazon's producer library packed into one, taken apart again; pure.

Format: the four bytes F3 89 9A C2, a Protocol Buffers message `AggregatedRecord`, and the MD5 of
that message. Field 3 of it is a `Record`, whose field 3 holds the data ("Amazon Kinesis Producer
Library, aggregation format"). What begins so but has another MD5 is a plain record, as it is to
Amazon's own reader; the parser then says what is wrong with it.
"""

import hashlib
from collections.abc import Iterator

MAGIC = b"\xf3\x89\x9a\xc2"
_MD5_BYTES = 16
_RECORDS_FIELD = 3
_DATA_FIELD = 3
_VARINT, _FIXED_64, _LENGTH_DELIMITED, _FIXED_32 = 0, 1, 2, 5


def user_records(data: bytes) -> list[bytes]:
    """Return the records packed into one, or the record itself if it is a plain one."""
    message, digest = data[len(MAGIC) : -_MD5_BYTES], data[-_MD5_BYTES:]
    if not data.startswith(MAGIC) or hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return [data]
    try:
        packed = [value for number, value in _fields(message) if number == _RECORDS_FIELD]
        return [_data(record) for record in packed]
    except (IndexError, ValueError):
        return [data]


def _data(record: bytes) -> bytes:
    found = [value for number, value in _fields(record) if number == _DATA_FIELD]
    if not found:
        raise ValueError("a packed record has no data")
    return found[-1]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and content of each length-delimited field; skip all others."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _LENGTH_DELIMITED:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field reaches beyond its message")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind in (_FIXED_32, _FIXED_64):
            at += 4 if kind == _FIXED_32 else 8
        else:
            raise ValueError(f"a field has the unknown kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
