"""Accounts and account-days as integers, so that NumPy can sort and search them.

A key is the account's rank among the sorted account numbers and the day in one 64-bit integer:
keys sort by account, then day.
"""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]

_DAY_BITS = 23
_DAY_OFFSET = 1 << (_DAY_BITS - 1)
"""Days of eleven thousand years either side of 1970 fit; a date has four digits for its year."""


def account_runs(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Integers]:
    """Return the account of every run of equal neighbours, and the rows where the runs begin.

    One more element says where the last run ends. Neighbours of the same account count once, also
    where a chunk ends between them.
    """
    runs, ends, length = [], [np.zeros(1, np.int64)], 0
    for chunk in column.cast(pa.string()).chunks:
        encoded = pc.run_end_encode(chunk, run_end_type=pa.int64())
        ends.append(encoded.run_ends.to_numpy() + length)
        runs.append(encoded.values)
        length += len(chunk)
    accounts = pa.concat_arrays([pa.array([], pa.string()), *runs])
    starts = np.concatenate(ends)
    begins = np.ones(len(accounts), np.bool_)
    begins[1:] = pc.not_equal(accounts[1:], accounts[:-1]).to_numpy(zero_copy_only=False)
    return pa.chunked_array([accounts.filter(pa.array(begins))]), starts[np.append(begins, True)]


def sorted_accounts(*columns: pa.ChunkedArray) -> pa.Array:
    """Return the distinct account numbers of all columns, sorted by their bytes."""
    distinct = [pc.unique(column.cast(pa.string())) for column in columns]
    accounts = pc.unique(pa.concat_arrays(distinct))
    return accounts.take(pc.sort_indices(accounts))


def account_codes(column: pa.ChunkedArray, accounts: pa.Array) -> Integers:
    """Return the position of each value among the sorted accounts, -1 where it is not there."""
    result = np.empty(len(column), np.int64)
    low = 0
    # Chunk after chunk: what lies between the texts and the result stays in the cache.
    for chunk in column.cast(pa.string()).chunks:
        codes = pc.index_in(chunk, value_set=accounts)
        if codes.null_count:
            codes = codes.fill_null(-1)
        result[low : low + len(chunk)] = codes.to_numpy()
        low += len(chunk)
    return result


def day_numbers(column: pa.ChunkedArray) -> Days:
    """Return a date32 column without nulls as days since 1970-01-01."""
    result: Days = column.cast(pa.date32()).cast(pa.int32()).to_numpy()
    return result


def row_keys(codes: Integers, days: Days) -> Integers:
    """Join account position and day into one sortable integer."""
    keys = codes << _DAY_BITS
    keys += days
    keys += _DAY_OFFSET
    return keys


def account_and_day(key: int) -> tuple[int, date]:
    """Split a key again."""
    day = (int(key) & ((1 << _DAY_BITS) - 1)) - _DAY_OFFSET
    return int(key) >> _DAY_BITS, date(1970, 1, 1) + timedelta(days=day)
