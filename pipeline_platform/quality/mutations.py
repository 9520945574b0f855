"""Ways in which rows get damaged, derived from a table's schema and contract (B-15).

A closed list, `KINDS`. Each mutation is a query over a copy of good rows; `mutation_scores` runs a
table's own checks on what it returns. Kinds that stand for single bad records damage every tenth
row that has a value; those that stand for a bad delivery damage the whole copy.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa

from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.contracts import MOMENTS, UNIQUE_TYPES, Contract
from pipeline_platform.quality.mutation_copies import COPY, PLACE, group_column, unchanged
from pipeline_platform.quality.predicates import literal, quoted

EVERY = 10
FEW_VALUES = 20
"""A required text of at most so many words, each ten times on the average, is an enumeration."""
ROWS_PER_VALUE = 10
FAR = 1000
HOURS_OFF = 5

KINDS: Mapping[str, str] = {
    "null_in_required": "a required column is null in every tenth row",
    "out_of_range": "just beyond the contract's limit in every tenth row; without a limit, 1000 "
    "times the largest value, or the year 2300",
    "wrong_sign": "a number has the other sign in every tenth row",
    "unit_times_100": "all numbers of a column are 100 times as large, as cents read for dollars",
    "unknown_value": "a value that the enumeration does not have, in every tenth row",
    "malformed_text": "a text that must have a form is followed by ` ?`, in every tenth row",
    "other_encoding": "all texts of a column are UTF-8 read as Latin-1",
    "swapped_columns": "two neighbouring columns of one type stand for each other in all rows",
    "other_time_zone": "all instants of a column are 5 hours early, as local time read for UTC",
    "shifted_day": "all days of a column are the day before",
    "stale_day": "the last day repeats the numbers of the day before, key by key",
    "duplicated_rows": "every tenth row stands twice",
    "dropped_rows": "every tenth row is missing",
    "dropped_keys": "all rows of every tenth account, or what the key begins with, are missing",
    "truncated": "the last third of the rows is missing, as of a file cut off",
    "missing_column": "the last column that is no key is missing",
}
"""What each kind of mutation does."""


@dataclass(frozen=True)
class Mutation:
    """One way to damage a copy: a kind of `KINDS`, the columns it touches, and its query."""

    kind: str
    columns: tuple[str, ...]
    query: str


def mutations_of(
    table: LakeTable,
    contract: Contract,
    copy: duckdb.DuckDBPyConnection,
    required: Collection[str] = (),
) -> list[Mutation]:
    """Return the mutations of a table in the order of `KINDS`; `copy` has its rows in `COPY`.

    `required` are columns that must be given though neither schema nor contract says so.
    """
    derivation = _Derivation(table, contract, copy, required)
    return [mutation for derive in _DERIVED for mutation in derive(derivation)]


@dataclass(frozen=True)
class _Derivation:
    table: LakeTable
    contract: Contract
    copy: duckdb.DuckDBPyConnection
    required: Collection[str] = ()

    def columns(self, *kinds: Callable[[pa.DataType], bool]) -> list[pa.Field]:
        """Return the columns of some types that do not say which row it is."""
        return [
            field
            for field in self.table.schema
            if any(kind(field.type) for kind in kinds)
            and field.name not in self.contract.key_columns
        ]

    def numbers(self) -> list[pa.Field]:
        return self.columns(pa.types.is_decimal, pa.types.is_integer, pa.types.is_floating)

    def arguments(self, column: str, argument: str) -> list[Any]:
        """Return what rules of the contract about a column give for an argument."""
        return [
            one.kwargs[argument]
            for one in self.contract.expectations
            if one.kwargs.get("column") == column and argument in one.kwargs
        ]

    def value(self, expression: str) -> Any:
        found = self.copy.sql(f"SELECT {expression} FROM {COPY}").fetchone()
        return found[0] if found else None

    def is_enumeration(self, field: pa.Field) -> bool:
        """Tell whether a required text is one of a few words as far as the copy goes."""
        column = quoted(field.name)
        words = f"count({column}) FILTER (regexp_full_match({column}, '[A-Za-z_ -]+'))"
        distinct, given, as_words = (
            self.value(what) for what in (f"count(DISTINCT {column})", f"count({column})", words)
        )
        is_of_few = distinct <= FEW_VALUES and given >= distinct * ROWS_PER_VALUE
        return not field.nullable and 0 < given == as_words and is_of_few

    def every_tenth(self, kind: str, field: pa.Field, damaged: str) -> Mutation:
        """Damage every tenth row in which the column has a value."""
        column = quoted(field.name)
        place = f"row_number() OVER (PARTITION BY {column} IS NULL ORDER BY {PLACE})"
        chosen = (
            f"SELECT *, {column} IS NOT NULL AND {place} % {EVERY} = 1 AS is_chosen FROM {COPY}"
        )
        new = f"CASE WHEN is_chosen THEN {_cast(field, damaged)} ELSE {column} END"
        return self.replaced(kind, {field.name: new}, f"({chosen})")

    def everywhere(self, kind: str, field: pa.Field, damaged: str) -> Mutation:
        """Damage every row; a value that the type can't hold stays as it is."""
        new = f"coalesce({_cast(field, damaged)}, {quoted(field.name)})"
        return self.replaced(kind, {field.name: new}, COPY)

    def replaced(self, kind: str, new: Mapping[str, str], source: str) -> Mutation:
        names = self.table.schema.names
        selected = ", ".join(f"{new.get(name, quoted(name))} AS {quoted(name)}" for name in names)
        return Mutation(kind, tuple(new), f"SELECT {selected} FROM {source}")

    def of_rows(self, kind: str, condition: str, columns: tuple[str, ...] = ()) -> Mutation:
        """Keep the rows of a condition."""
        return Mutation(kind, columns, f"{unchanged(self.table)} WHERE {condition}")


def _cast(field: pa.Field, expression: str) -> str:
    return f"TRY_CAST({expression} AS {duckdb_type(field)})"


def _largest(kind: pa.DataType) -> str:
    """Return the largest number that a type holds, for where 1000 times as much does not fit."""
    if pa.types.is_decimal(kind):
        return str(Decimal((0, (9,) * kind.precision, -kind.scale)))
    return str(2 ** (kind.bit_width - 1) - 1)


def _nulls(one: _Derivation) -> Iterator[Mutation]:
    given = {
        rule.kwargs["column"]
        for rule in one.contract.expectations
        if rule.type == "expect_column_values_to_not_be_null" and "mostly" not in rule.kwargs
    }
    for field in one.table.schema:
        if not field.nullable or field.name in given or field.name in one.required:
            yield one.every_tenth("null_in_required", field, "NULL")


def _out_of_range(one: _Derivation) -> Iterator[Mutation]:
    for field in one.numbers():
        limits = [*one.arguments(field.name, "max_value"), *one.arguments(field.name, "min_value")]
        if limits:
            sign = "+" if one.arguments(field.name, "max_value") else "-"
            beyond = f"{literal(limits[0])}::DOUBLE {sign} 1"
        else:
            beyond = f"{FAR} * (SELECT max(abs({quoted(field.name)}))::DOUBLE + 1 FROM {COPY})"
        within = f"coalesce({_cast(field, beyond)}, {_largest(field.type)})"
        yield one.every_tenth("out_of_range", field, within)
    for field in one.table.schema:
        if pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            limits = one.arguments(field.name, "max_value")
            days = [limit for limit in limits if isinstance(limit, date)]
            is_present = any(str(limit) in MOMENTS for limit in limits)
            last = "today()" if is_present else literal(min(days, default=date(2299, 12, 31)))
            yield one.every_tenth("out_of_range", field, f"{last} + 1")


def _signs(one: _Derivation) -> Iterator[Mutation]:
    for field in one.numbers():
        yield one.every_tenth("wrong_sign", field, f"-{quoted(field.name)}")


def _units(one: _Derivation) -> Iterator[Mutation]:
    for field in one.numbers():
        yield one.everywhere("unit_times_100", field, f"{quoted(field.name)}::DOUBLE * 100")


def _unknown_values(one: _Derivation) -> Iterator[Mutation]:
    for field in one.columns(pa.types.is_string):
        if one.arguments(field.name, "value_set") or one.is_enumeration(field):
            yield one.every_tenth("unknown_value", field, "'not_a_known_value'")


def _malformed(one: _Derivation) -> Iterator[Mutation]:
    for field in one.table.schema:
        if pa.types.is_string(field.type) and one.arguments(field.name, "regex"):
            yield one.every_tenth("malformed_text", field, f"{quoted(field.name)} || ' ?'")


def _encodings(one: _Derivation) -> Iterator[Mutation]:
    for field in one.table.schema:
        if pa.types.is_string(field.type):
            column = quoted(field.name)
            as_latin_1 = (
                f"array_to_string(list_transform(regexp_extract_all(hex(encode({column})), '..'),"
                " pair -> chr(('0x' || pair)::INTEGER)), '')"
            )
            is_ascii = f"strlen({column}) = length({column})"
            yield one.everywhere(
                "other_encoding", field, f"CASE WHEN {is_ascii} THEN {column} ELSE {as_latin_1} END"
            )


def _swaps(one: _Derivation) -> Iterator[Mutation]:
    by_type: dict[pa.DataType, list[str]] = {}
    for field in one.table.schema:
        by_type.setdefault(field.type, []).append(field.name)
    for names in by_type.values():
        for first, second in pairwise(names):
            exchanged = {first: quoted(second), second: quoted(first)}
            yield one.replaced("swapped_columns", exchanged, COPY)


def _time_zones(one: _Derivation) -> Iterator[Mutation]:
    for field in one.table.schema:
        if pa.types.is_timestamp(field.type):
            early = f"{quoted(field.name)} - INTERVAL {HOURS_OFF} HOUR"
            yield one.everywhere("other_time_zone", field, early)


def _shifted_days(one: _Derivation) -> Iterator[Mutation]:
    for field in one.table.schema:
        if pa.types.is_date(field.type):
            yield one.everywhere("shifted_day", field, f"{quoted(field.name)} - 1")


def _stale_day(one: _Derivation) -> Iterator[Mutation]:
    numbers = [field.name for field in one.numbers()]
    for rule in one.contract.expectations:
        days = [
            name
            for name in rule.judged_columns
            if name in one.table.schema.names
            and pa.types.is_date(one.table.schema.field(name).type)
        ]
        if rule.type not in UNIQUE_TYPES or not days or not numbers:
            continue
        keys = [quoted(name) for name in rule.judged_columns if name != days[0]]
        day = quoted(days[0])
        partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
        window = f"OVER ({partition}ORDER BY {day}, {PLACE})"
        is_last = f"{day} = (SELECT max({day}) FROM {COPY})"
        stale = {
            name: f"CASE WHEN {is_last} THEN coalesce(lag({quoted(name)}) {window},"
            f" {quoted(name)}) ELSE {quoted(name)} END"
            for name in numbers
        }
        yield one.replaced("stale_day", stale, COPY)


def _rows(one: _Derivation) -> Iterator[Mutation]:
    twice = f"{unchanged(one.table)} UNION ALL {unchanged(one.table)} WHERE {PLACE} % {EVERY} = 0"
    yield Mutation("duplicated_rows", (), twice)
    yield one.of_rows("dropped_rows", f"{PLACE} % {EVERY} <> 0")
    key = group_column(one.table, one.contract)
    if key is not None and one.value(f"count(DISTINCT {quoted(key)}) < count(*)"):
        tenth = f"(SELECT {quoted(key)}, dense_rank() OVER (ORDER BY {quoted(key)}) AS number"
        dropped = f"SELECT {quoted(key)} FROM {tenth} FROM {COPY}) WHERE number % {EVERY} = 1"
        yield one.of_rows("dropped_keys", f"{quoted(key)} NOT IN ({dropped})", (key,))
    yield one.of_rows("truncated", f"{PLACE} < (SELECT count(*) * 2 // 3 FROM {COPY})")


def _missing_column(one: _Derivation) -> Iterator[Mutation]:
    names = [*one.table.schema.names]
    others = [name for name in names if name not in one.contract.key_columns]
    if others:
        kept = ", ".join(quoted(name) for name in names if name != others[-1])
        yield Mutation("missing_column", (others[-1],), f"SELECT {kept} FROM {COPY}")


_DERIVED: Sequence[Callable[[_Derivation], Iterator[Mutation]]] = (
    _nulls,
    _out_of_range,
    _signs,
    _units,
    _unknown_values,
    _malformed,
    _encodings,
    _swaps,
    _time_zones,
    _shifted_days,
    _stale_day,
    _rows,
    _missing_column,
)
