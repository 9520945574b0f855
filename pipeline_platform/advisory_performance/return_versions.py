"""Versions of computed returns: what was known when (B-4).

A row's fingerprint covers everything it is made of: its day's inputs and, through its growth
indices and linked returns, every earlier day that it links from. So a correction gives a new
version to exactly the account-days that it touches and to those that link from them, and
computing the same again changes nothing.
"""

from datetime import datetime
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.decimals import validity_of, words_of
from pipeline_platform.advisory_performance.row_keys import (
    account_codes,
    day_numbers,
    row_keys,
    sorted_accounts,
)
from pipeline_platform.advisory_performance.tables import (
    COMPUTED_RETURNS,
    INSTANT,
    TIME_WEIGHTED_RETURNS,
)
from pipeline_platform.failures import BadInputError

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_KEY_COLUMNS = ("account_id", "as_of_date", "as_of_month")
_ROWS_AT_ONCE = 1 << 17
_NULL = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)


def with_fingerprints(returns: pa.Table) -> pa.Table:
    """Append `input_fingerprint`: 16 hexadecimal digits over all columns but the key.

    A 64-bit mix (the finaliser of SplitMix64 per column), made to notice changes between two
    versions of one account-day, not to withstand forgery. Floats count bit by bit.
    """
    parts = [
        _as_hexadecimal(_hashes(returns.slice(first, _ROWS_AT_ONCE)))
        for first in range(0, returns.num_rows, _ROWS_AT_ONCE)
    ]
    return returns.append_column(
        TIME_WEIGHTED_RETURNS.schema.field("input_fingerprint"),
        pa.chunked_array(parts, pa.string()),
    )


def with_versions(new: pa.Table, previous: pa.Table | None, *, published_at: datetime) -> pa.Table:
    """Return all versions of the account-days of one or more months, the newest being `new`.

    `new` has the columns of COMPUTED_RETURNS; `previous` are all TIME_WEIGHTED_RETURNS rows of the
    same months, superseded ones too. Where the fingerprint is unchanged the row stays as it was;
    else the old version ends (`known_to`) and a new one begins at `published_at`. A row that is
    no longer computed ends as well. Sorted by account, day and known_from.

    Raises BadInputError where `published_at` is older than a version that it would end, or where
    `previous` has two current versions of an account-day.
    """
    schema = TIME_WEIGHTED_RETURNS.schema
    fresh = _versioned(
        with_fingerprints(new.select(COMPUTED_RETURNS.names).cast(COMPUTED_RETURNS)), published_at
    )
    known = (schema.empty_table() if previous is None else previous).select(schema.names)
    known = known.cast(schema)
    accounts = sorted_accounts(fresh["account_id"], known["account_id"])
    fresh_keys, known_keys = _keys(fresh, accounts), _keys(known, accounts)
    current = np.flatnonzero(known["is_current"].to_numpy())
    current = current[np.argsort(known_keys[current], kind="stable")]
    _refuse_two_current(known, current, known_keys)

    # Position of each fresh row among the current versions, where there is one.
    position = np.searchsorted(known_keys[current], fresh_keys)
    matched = np.flatnonzero(position < len(current))
    matched = matched[known_keys[current[position[matched]]] == fresh_keys[matched]]
    counterpart = current[position[matched]]
    is_same = pc.equal(
        fresh["input_fingerprint"].take(pa.array(matched)),
        known["input_fingerprint"].take(pa.array(counterpart)),
    ).to_numpy()
    begins = np.ones(len(fresh_keys), np.bool_)
    begins[matched[is_same]] = False
    ends = np.zeros(len(known_keys), np.bool_)
    ends[current] = True
    ends[counterpart[is_same]] = False

    begun = np.flatnonzero(begins)
    known_from = known["known_from"].cast(pa.int64()).to_numpy()
    _refuse_later_versions(known, np.flatnonzero(ends), known_from, published_at)
    known = _ended(known, ends, published_at)
    keys = np.concatenate([known_keys, fresh_keys[begun]])
    started = np.concatenate([known_from, np.full(len(begun), _microseconds(published_at))])
    rows = np.concatenate([np.arange(len(known_keys)), len(known_keys) + begun])
    rows = rows[np.lexsort((rows, started, keys))]
    return _taken([known, fresh], rows)


def _versioned(rows: pa.Table, published_at: datetime) -> pa.Table:
    count = rows.num_rows
    columns = {
        "known_from": pa.repeat(pa.scalar(published_at, INSTANT), count),
        "known_to": pa.nulls(count, INSTANT),
        "is_current": pa.repeat(pa.scalar(value=True), count),
    }
    for name, values in columns.items():
        rows = rows.append_column(TIME_WEIGHTED_RETURNS.schema.field(name), values)
    return rows.cast(TIME_WEIGHTED_RETURNS.schema)


def _ended(rows: pa.Table, ends: Mask, published_at: datetime) -> pa.Table:
    if not ends.any():
        return rows
    mask = pa.array(ends)
    changes = {
        "known_to": pc.if_else(mask, pa.scalar(published_at, INSTANT), rows["known_to"]),
        "is_current": pc.if_else(mask, pa.scalar(value=False), rows["is_current"]),
    }
    for name, values in changes.items():
        position = rows.schema.get_field_index(name)
        rows = rows.set_column(position, rows.schema.field(position), values)
    return rows


def _taken(tables: list[pa.Table], rows: Integers) -> pa.Table:
    """Return rows of the joined tables; the first table itself where that is all of it."""
    tables = [table for table in tables if table.num_rows] or tables[:1]
    if np.array_equal(rows, np.arange(tables[0].num_rows)):
        return tables[0]
    joined = pa.concat_tables(tables)
    indices = pa.array(rows)
    columns = [joined.column(at).combine_chunks().take(indices) for at in range(len(joined.schema))]
    return pa.Table.from_arrays(columns, schema=joined.schema)


def _microseconds(instant: datetime) -> int:
    result: int = pa.scalar(instant, INSTANT).cast(pa.int64()).as_py()
    return result


def _keys(rows: pa.Table, accounts: pa.Array) -> Integers:
    return row_keys(account_codes(rows["account_id"], accounts), day_numbers(rows["as_of_date"]))


def _refuse_two_current(known: pa.Table, current: Integers, keys: Integers) -> None:
    twice = np.flatnonzero(keys[current[1:]] == keys[current[:-1]])
    if len(twice):
        row = _account_day(known, int(current[twice[0]]))
        raise BadInputError(
            f"Account {row['account_id']} has two current versions of {row['as_of_date']} "
            f"({len(twice)} such rows) in time_weighted_returns; restore the month from an "
            "earlier snapshot and compute it again."
        )


def _refuse_later_versions(
    known: pa.Table, ending: Integers, known_from: Integers, published_at: datetime
) -> None:
    later = ending[known_from[ending] > _microseconds(published_at)]
    if len(later):
        row = _account_day(known, int(later[0]))
        raise BadInputError(
            f"Account {row['account_id']} on {row['as_of_date']} has a version known since "
            f"{row['known_from']}, which is later than the publication at {published_at} "
            f"({len(later)} such rows); check the clock of the machine that runs this."
        )


def _account_day(rows: pa.Table, position: int) -> dict[str, object]:
    columns = ["account_id", "as_of_date", "known_from"]
    found: dict[str, object] = rows.select(columns).slice(position, 1).to_pylist()[0]
    return found


def _hashes(rows: pa.Table) -> Hashes:
    result = np.zeros(rows.num_rows, np.uint64)
    for name in rows.column_names:
        if name in _KEY_COLUMNS:
            continue
        column = rows[name].combine_chunks()
        for bits in _bits(column):
            result = mixed(result ^ bits)
    return result


def _bits(column: pa.Array) -> list[Hashes]:
    """Return a column's values as one or two 64-bit words each, nulls as a constant."""
    kind = column.type
    if pa.types.is_decimal(kind):
        words = words_of(column)
        parts = [words[:, 0].view(np.uint64), words[:, 1].view(np.uint64)]
    elif pa.types.is_string(kind):
        encoded = column.dictionary_encode()
        hashes = np.array([_text_hash(text.as_py()) for text in encoded.dictionary], np.uint64)
        codes = encoded.indices.fill_null(0).to_numpy()
        parts = [hashes[codes] if len(hashes) else np.zeros(len(column), np.uint64)]
    elif pa.types.is_floating(kind):
        parts = [column.fill_null(0.0).to_numpy().view(np.uint64)]
    elif pa.types.is_date(kind):
        parts = [column.cast(pa.int32()).fill_null(0).to_numpy().astype(np.uint64)]
    else:
        parts = [column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64)]
    if column.null_count:
        valid = validity_of(column)
        parts = [np.where(valid, part, _NULL) for part in parts]
    return parts


def mixed(values: Hashes) -> Hashes:
    """Spread the bits of 64-bit integers (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST_FACTOR
    values = (values ^ (values >> np.uint64(27))) * _SECOND_FACTOR
    return (values ^ (values >> np.uint64(31))) + _NULL


def _text_hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _as_hexadecimal(hashes: Hashes) -> pa.Array:
    characters = _HEX[hashes.astype(">u8").view(np.uint8)]
    offsets = np.arange(len(hashes) + 1, dtype=np.int32) * 16
    return pa.Array.from_buffers(
        pa.string(), len(hashes), [None, pa.py_buffer(offsets), pa.py_buffer(characters)]
    )
