"""Where each account's record stood at the end of a month: from a table to arrays and back."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.calendar_days import first_of_month
from pipeline_platform.advisory_performance.decimals import (
    Words,
    decimals_from_words,
    words_of,
)
from pipeline_platform.advisory_performance.row_keys import account_codes, day_numbers
from pipeline_platform.advisory_performance.tables import BASES, COMPUTED_STATES, MONEY
from pipeline_platform.failures import BadInputError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

GROWTH_ANCHORS = ("index", "month_start", "quarter_start", "year_start")
INDEX_COLUMNS = tuple(f"{basis}_growth_{name}" for basis in BASES for name in GROWTH_ANCHORS)


@dataclass(frozen=True)
class AccountStates:
    """States with one element per row of states; `growth` has one column per INDEX_COLUMNS.

    As input the rows are accounts and `is_known` says which of them have a state at all. An index
    that is not known (no open record; gross without fees) is NaN.
    """

    is_known: Mask
    as_of_day: Days
    vendor: Texts
    currency: Texts
    account_class: Texts
    market_value_words: Words
    record_start: Days
    is_open: Mask
    growth: Floats

    def at(self, index: Integers | slice) -> "AccountStates":
        """Return the states at some positions."""
        return AccountStates(*(getattr(self, field.name)[index] for field in fields(self)))


def joined(first: AccountStates, second: AccountStates) -> AccountStates:
    """Return the rows of both, the first one's first."""
    return AccountStates(
        *(
            np.concatenate([getattr(first, field.name), getattr(second, field.name)])
            for field in fields(first)
        )
    )


def states_by_account(states: pa.Table | None, accounts: pa.Array) -> AccountStates:
    """Return one state per account of `accounts`; raise BadInputError where a table has two."""
    count = len(accounts)
    result = AccountStates(
        is_known=np.zeros(count, np.bool_),
        as_of_day=np.zeros(count, np.int32),
        vendor=np.full(count, "", np.object_),
        currency=np.full(count, "", np.object_),
        account_class=np.full(count, "", np.object_),
        market_value_words=np.zeros((count, 2), np.int64),
        record_start=np.zeros(count, np.int32),
        is_open=np.zeros(count, np.bool_),
        growth=np.full((count, len(INDEX_COLUMNS)), np.nan),
    )
    if states is None or states.num_rows == 0:
        return result
    code = account_codes(states["account_id"], accounts)
    twice = np.flatnonzero(np.bincount(code, minlength=count) > 1)
    if len(twice):
        raise BadInputError(
            f"Account {accounts[int(twice[0])].as_py()} has more than one state "
            f"({len(twice)} such accounts); pass the states of one month."
        )
    result.is_known[code] = True
    result.as_of_day[code] = day_numbers(states["as_of_date"])
    for name, target in (
        ("vendor", result.vendor),
        ("currency", result.currency),
        ("account_class", result.account_class),
    ):
        target[code] = states[name].to_numpy()
    result.market_value_words[code] = words_of(states["market_value"].cast(MONEY))
    result.record_start[code] = day_numbers(states["record_start_date"])
    result.is_open[code] = states["is_record_open"].to_numpy()
    for position, name in enumerate(INDEX_COLUMNS):
        index = pc.fill_null(states[name].cast(pa.float64()), np.nan)
        result.growth[code, position] = index.to_numpy()
    return result


def states_table(accounts: pa.Array, months: Integers, states: AccountStates) -> pa.Table:
    """Return COMPUTED_STATES rows; `months` counts from January 1970."""
    columns = {
        "account_id": accounts,
        "as_of_date": _dates(states.as_of_day),
        "as_of_month": _dates(first_of_month(months)),
        "vendor": pa.array(states.vendor, pa.string()),
        "currency": pa.array(states.currency, pa.string()),
        "account_class": pa.array(states.account_class, pa.string()),
        "market_value": decimals_from_words(states.market_value_words, MONEY, None),
        "record_start_date": _dates(states.record_start),
        "is_record_open": pa.array(states.is_open),
        **{
            name: pa.array(column)
            for name, column in zip(
                INDEX_COLUMNS, np.ascontiguousarray(states.growth.T), strict=True
            )
        },
    }
    schema = COMPUTED_STATES
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def month_ends(
    account_starts: Integers, row_month: Integers, months: Integers
) -> tuple[Integers, Integers, Integers]:
    """Return, for each account and month, the last row not after the month (-1 = none).

    The result is (account, month, row), one element per account and month.
    """
    account_count = len(account_starts) - 1
    accounts = np.repeat(np.arange(account_count), len(months))
    wanted = np.tile(months, account_count)
    if not len(row_month):
        return accounts, wanted, np.full(len(accounts), -1)
    lowest = min(int(months[0]), int(row_month.min()))
    span = max(int(months[-1]), int(row_month.max())) - lowest + 1
    row_account = np.repeat(np.arange(account_count), np.diff(account_starts))
    keys = row_account * span + row_month - lowest
    row = np.searchsorted(keys, accounts * span + wanted - lowest, side="right") - 1
    row[row < account_starts[accounts]] = -1
    return accounts, wanted, row


def _dates(days: Days) -> pa.Array:
    return pa.array(days, pa.int32()).cast(pa.date32())
