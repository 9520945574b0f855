"""From which month on each account has to be measured: what its returns are made from changed.

Every state of an account at the end of a month carries a fingerprint of all that the month's
returns were made from: the month's valuations and flows, the fingerprints of the month before and
of the months in which 1, 3 and 5 year returns start, the code and the rulings; and of the returns
themselves. So a correction recomputes the months of the accounts that it touches, and of those
the later ones, which link from them. A change that goes unnoticed needs two equal 64-bit values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline_platform.advisory_performance.account_days import VALUATION_COLUMNS
from pipeline_platform.advisory_performance.return_versions import Hashes, mixed
from pipeline_platform.advisory_performance.row_flows import FLOW_COLUMNS
from pipeline_platform.advisory_performance.row_keys import (
    account_codes,
    day_numbers,
    sorted_accounts,
)
from pipeline_platform.advisory_performance.tables import ACCOUNT_STATES
from pipeline_platform.partition_ranges import shifted

Mask = npt.NDArray[np.bool_]

ANNIVERSARIES = (1, 3, 5)
HISTORY_MONTHS = tuple(12 * years + more for years in ANNIVERSARIES for more in (0, 1, 2))
"""How many months back lie the indexes from which returns of whole years start: each is the last
one within 31 days before the anniversary (which of 1 October or 1 March lies two months before)."""

LINKED_MONTHS = (1, *HISTORY_MONTHS)
"""How many months back the returns of a month reach."""

UNKNOWN = np.uint64(1)
"""The fingerprint of a state that was written without one."""

_ABSENT = np.uint64(0)


@dataclass(frozen=True)
class AccountInputs:
    """What accounts are measured from in consecutive months.

    `inputs`, `has_valuation` and `returns` have one row per month and one column per account:
    a hash of the month's silver rows, whether there is a valuation, a hash of the returns that
    are stored. `fingerprints` are those stored with the states, of these months and of the ones
    that they link from; 0 = no state.
    """

    accounts: pa.Array
    months: tuple[date, ...]
    inputs: Hashes
    has_valuation: Mask
    returns: Hashes
    fingerprints: Mapping[date, Hashes]


def account_inputs(
    months: Sequence[date],
    *,
    valuations: duckdb.DuckDBPyRelation,
    flows: duckdb.DuckDBPyRelation,
    returns: duckdb.DuckDBPyRelation,
    states: duckdb.DuckDBPyRelation,
) -> AccountInputs:
    """Read what consecutive months are measured from.

    The relations are current silver rows and stored returns of these months, and the stored
    states of them and of the `linked_months`.
    """
    value = f"hash({', '.join(VALUATION_COLUMNS)}) AS row_hash, true AS valued"
    flow = f"hash('flow', {', '.join(FLOW_COLUMNS)}) AS row_hash, false AS valued"
    rows = (
        valuations.project(f"account_id, as_of_month, {value}")
        .union(flows.filter("amount <> 0").project(f"account_id, as_of_month, {flow}"))
        .aggregate(
            "account_id, as_of_month, bit_xor(row_hash) AS row_hash, bool_or(valued) AS valued",
            "account_id, as_of_month",
        )
        .to_arrow_table()
    )
    stored = states.project(
        f"account_id, as_of_month, coalesce(measured_fingerprint, {UNKNOWN}) AS fingerprint"
    ).to_arrow_table()
    known = _hashed(returns)
    accounts = sorted_accounts(rows["account_id"], stored["account_id"], known["account_id"])
    needed = sorted({*months, *linked_months(months)})
    fingerprints = _by_month(stored, "fingerprint", needed, accounts)
    return AccountInputs(
        accounts,
        tuple(months),
        _by_month(rows, "row_hash", months, accounts),
        _by_month(rows, "valued", months, accounts).astype(np.bool_),
        _by_month(known, "row_hash", months, accounts),
        dict(zip(needed, fingerprints, strict=True)),
    )


def linked_months(months: Sequence[date], back: Sequence[int] = LINKED_MONTHS) -> list[date]:
    """Return the earlier months that lie so many months before these, oldest first."""
    linked = {shifted(month, -count) for month in months for count in back}
    return sorted(linked - set(months))


def first_changed(given: AccountInputs, method: str) -> pa.Table:
    """Return (account_id, first_month) of the accounts to measure, from that month to the last.

    `method` names everything else that returns depend on: the code and its rulings.
    """
    first = np.full(len(given.accounts), -1)
    for position, month in enumerate(given.months):
        fingerprint = _fingerprint(
            given, position, given.returns[position], given.fingerprints, method
        )
        first[(first < 0) & (fingerprint != given.fingerprints[month])] = position
    found = np.flatnonzero(first >= 0)
    starts = pa.array(given.months, pa.date32()).take(pa.array(first[found]))
    return pa.table({"account_id": given.accounts.take(pa.array(found)), "first_month": starts})


def with_measured_fingerprints(
    states: pa.Table,
    returns: duckdb.DuckDBPyRelation,
    given: AccountInputs,
    method: str,
) -> pa.Table:
    """Append `measured_fingerprint` to the new states of accounts whose `returns` are given.

    Both are what was computed for the accounts and months that `first_changed` named.
    """
    computed = _by_month(_hashed(returns), "row_hash", given.months, given.accounts)
    code = account_codes(states["account_id"], given.accounts)
    month = _positions(states["as_of_month"], given.months)
    fingerprints = dict(given.fingerprints)
    result = np.empty(states.num_rows, np.uint64)
    for position, name in enumerate(given.months):
        rows = np.flatnonzero(month == position)
        found = _fingerprint(given, position, computed[position], fingerprints, method)
        result[rows] = found[code[rows]]
        fingerprints[name] = fingerprints[name].copy()
        fingerprints[name][code[rows]] = result[rows]
    return states.append_column(
        ACCOUNT_STATES.schema.field("measured_fingerprint"), pa.array(result.view(np.int64))
    )


def _fingerprint(
    given: AccountInputs,
    position: int,
    returns: Hashes,
    fingerprints: Mapping[date, Hashes],
    method: str,
) -> Hashes:
    """Return the fingerprint of each account's state at the end of a month; 0 = it has none."""
    month = given.months[position]
    salt = np.uint64(int.from_bytes(blake2b(method.encode(), digest_size=8).digest()))
    result = mixed(given.inputs[position] ^ salt)
    for back in LINKED_MONTHS:
        result = mixed(result ^ fingerprints[shifted(month, -back)])
    result = np.maximum(mixed(result ^ returns), UNKNOWN + UNKNOWN)
    has_state = given.has_valuation[position] | (fingerprints[shifted(month, -1)] != _ABSENT)
    return np.where(has_state, result, _ABSENT)


def _hashed(returns: duckdb.DuckDBPyRelation) -> pa.Table:
    """Return a hash of the current returns of each account and month."""
    return (
        returns.filter("is_current")
        .aggregate(
            "account_id, as_of_month, bit_xor(hash(as_of_date, input_fingerprint)) AS row_hash",
            "account_id, as_of_month",
        )
        .to_arrow_table()
    )


def _by_month(
    rows: pa.Table, column: str, months: Sequence[date], accounts: pa.Array
) -> npt.NDArray[np.uint64]:
    """Spread a column over months and accounts, zero where there is no row."""
    result = np.zeros((len(months), len(accounts)), np.uint64)
    values = rows[column].to_numpy()
    result[_positions(rows["as_of_month"], months), account_codes(rows["account_id"], accounts)] = (
        values.view(np.uint64) if values.dtype == np.int64 else values
    )
    return result


def _positions(column: pa.ChunkedArray, months: Sequence[date]) -> npt.NDArray[np.int64]:
    """Return which of the sorted months each value is."""
    result: npt.NDArray[np.int64] = np.searchsorted(
        day_numbers(pa.chunked_array([pa.array(months, pa.date32())])), day_numbers(column)
    )
    return result
