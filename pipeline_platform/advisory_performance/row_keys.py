"""Accounts and account-days as integers, so that NumPy can sort and search them.

A key is the account's rank among the sorted account numbers and the day in one 64-bit integer:
keys sort by account, then day.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]

_DAY_BITS = 23
_DAY_OFFSET = 1 << (_DAY_BITS - 1)
"""Days of eleven thousand years either side of 1970 fit; a date has four digits for its year."""


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
