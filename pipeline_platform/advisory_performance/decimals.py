"""Arrow decimals to NumPy and back, a whole column at a time.

A `decimal128` value is one little-endian 128-bit integer: its value times ten to the power of its
scale. Read as two 64-bit words it needs no conversion per value.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.int64]
"""Shape (rows, 2): the low and the high word of each unscaled decimal."""
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_LOW_WORD = 2.0**64


def words_of(column: pa.Array | pa.ChunkedArray) -> Words:
    """Return the unscaled words of a decimal128 column; a null's words mean nothing."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_words_of_chunk(chunk) for chunk in chunks if len(chunk)]
    if not parts:
        return np.empty((0, 2), np.int64)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def validity_of(column: pa.Array | pa.ChunkedArray) -> Mask:
    """Return which values of a column are not null."""
    if column.null_count == 0:
        return np.ones(len(column), np.bool_)
    valid = column.is_valid()
    if isinstance(valid, pa.ChunkedArray):
        valid = valid.combine_chunks()
    result: Mask = valid.to_numpy(zero_copy_only=False)
    return result


def words_to_floats(words: Words) -> Floats:
    """Return unscaled decimals as floats: exact up to 2**53 units, i.e. 900 billion of money."""
    low, high = words[:, 0], words[:, 1]
    result = low.astype(np.float64)
    is_wide = (low >> 63) != high
    if is_wide.any():
        wide = words[is_wide]
        low_part = np.ascontiguousarray(wide[:, 0]).view(np.uint64).astype(np.float64)
        result[is_wide] = wide[:, 1] * _LOW_WORD + low_part
    return result


def floats_of(column: pa.Array | pa.ChunkedArray) -> Floats:
    """Return a decimal column as floats in units of its last decimal place, nulls as NaN."""
    values = words_to_floats(words_of(column))
    if column.null_count:
        values[~validity_of(column)] = np.nan
    return values


def decimals_from_words(words: Words, kind: pa.Decimal128Type, valid: Mask | None) -> pa.Array:
    """Return a decimal128 array over the given unscaled words; None = nothing is null."""
    words = np.ascontiguousarray(words)
    return pa.Array.from_buffers(kind, len(words), [_bitmap(valid), pa.py_buffer(words)])


def floats_to_arrow(values: Floats) -> pa.Array:
    """Return a float64 array in which NaN is null."""
    valid = ~np.isnan(values)
    bitmap = None if valid.all() else _bitmap(valid)
    return pa.Array.from_buffers(pa.float64(), len(values), [bitmap, pa.py_buffer(values)])


def _words_of_chunk(chunk: pa.Array) -> Words:
    buffer = chunk.buffers()[1]
    words = np.frombuffer(buffer, np.int64, 2 * len(chunk), 16 * chunk.offset)
    return words.reshape(-1, 2)


def _bitmap(valid: Mask | None) -> pa.Buffer | None:
    if valid is None:
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
