"""One source of rules, two engines: Great Expectations and DuckDB give the same results."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from pipeline_platform.quality.contracts import Contract, row_rules
from pipeline_platform.quality.suites import run_suite
from pipeline_platform.quality.validation import validate
from tests.examples import examples
from tests.unit.quality.silver_rows import CONTRACTS, NOW, TABLES

EDGES: dict[str, list[Any]] = {
    "account_id": [
        "A-1",
        "",
        " A",
        "A\n",
        "Ä1",
        "A" * 64,
        "A" * 65,
        "e\u0301" * 33,
        "🙂",
        "\x00",
        "9:/_.",
    ],
    "currency": ["USD", "usd", "US", "USD\n", "USDX", "ÜSD", ""],
    "account_class": ["private", "margin", "margin\n", "", "x y", "1a", "nan", "None"],
    "timing": ["start_of_day", "end_of_day", "weighted", "weighted ", "Weighted", "nan"],
    "period": ["daily", "since_inception", "since inception", "five_years", ""],
    "basis": ["net", "gross", "NET", "None"],
    "vendor": ["standard", "Standard", "a\n", "_a"],
    "file_sha256": ["0" * 64, "0" * 63, "g" * 64, "0" * 64 + "\n"],
}
UNSHRUNK: dict[str, Any] = {
    "suppress_health_check": [HealthCheck.too_slow],
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes here
}
MODEST = examples(3, **UNSHRUNK)
"""Great Expectations takes half a second, few rows or many: few examples of many rows."""
NUMBERS = [0, -1, 1, 10, 1000, 10**6, 10**9, 10**12]


DAYS = [
    *(date(1989, 12, 31), date(1990, 1, 1), date(2026, 10, 1), date(2026, 10, 2)),
    *(date(2200, 1, 1), date(2200, 1, 2), date(2262, 4, 12), date(9999, 12, 31)),
]
INSTANTS = [datetime(2026, 10, day, 4, tzinfo=UTC) for day in (1, 2)]


def _values(field: pa.Field) -> st.SearchStrategy[Any]:
    kind = field.type
    if pa.types.is_boolean(kind):
        return st.booleans()
    if field.name in EDGES:
        some: st.SearchStrategy[Any] = st.sampled_from(EDGES[field.name])
    elif pa.types.is_decimal(kind):
        some = _decimals(kind)
    elif pa.types.is_date(kind):
        some = st.sampled_from(DAYS)
    elif pa.types.is_timestamp(kind):
        some = st.sampled_from(INSTANTS)
    elif pa.types.is_integer(kind):
        some = st.sampled_from([-1, 0, 1, 12, 13, 30000])
    else:
        some = st.text(max_size=3)
    return st.none() | some


def _decimals(kind: pa.Decimal128Type) -> st.SearchStrategy[Decimal]:
    step = Decimal(1).scaleb(-kind.scale)
    edges = [Decimal(n) + d for n in NUMBERS for d in (-step, 0, step)]
    whole_digits = kind.precision - kind.scale
    fitting = [n for n in edges if abs(n) < Decimal(10) ** whole_digits]
    limit = 10 ** min(13, whole_digits) - 1
    anything = st.decimals(-limit, limit, places=kind.scale, allow_nan=False)
    return st.sampled_from(fitting) | anything


def _tables(name: str) -> st.SearchStrategy[pa.Table]:
    schema = pa.schema([(field.name, field.type) for field in TABLES[name].schema])
    row = st.fixed_dictionaries({field.name: _values(field) for field in schema})
    return st.lists(row, min_size=10, max_size=40).map(
        lambda rows: pa.Table.from_pylist(rows, schema=schema)
    )


@pytest.mark.parametrize("name", CONTRACTS)
@given(data=st.data())
@MODEST
def test_both_engines_give_the_same_results(name: str, data: st.DataObject) -> None:
    rows = data.draw(_tables(name))
    found = validate(CONTRACTS[name], rows, now=NOW)
    assert found == run_suite(CONTRACTS[name], rows, now=NOW)


OTHER_RULES = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "a"}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "a", "mostly": 0.5}},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["a", "b"]}},
    {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["a", "b"], "ignore_row_if": "any_value_is_missing"},
    },
    {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["a", "b"], "ignore_row_if": "never"},
    },
    {
        "type": "expect_column_values_to_not_be_in_set",
        "kwargs": {"column": "b", "value_set": ["x", "y"], "mostly": 0.75},
    },
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {
            "column_A": "a",
            "column_B": "c",
            "mostly": 0.5,
            "ignore_row_if": "either_value_is_missing",
        },
    },
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a", "mostly": 0.5}},
    {"type": "expect_column_values_to_be_null", "kwargs": {"column": "b", "mostly": 0.5}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "at", "max_value": "$now"}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "a", "min_value": 1, "max_value": 2, "mostly": 0.5},
        "when": [{"column": "b", "in": ["x", "z"]}],
    },
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 3, "max_value": 5}},
    {
        "type": "expect_table_columns_to_match_set",
        "kwargs": {"column_set": ["a", "b"], "exact_match": False},
    },
]
ROW = st.fixed_dictionaries(
    {
        "a": st.none() | st.integers(0, 3),
        "b": st.none() | st.sampled_from("xyz"),
        "c": st.none() | st.integers(0, 3),
        "at": st.none() | st.sampled_from([NOW, NOW + timedelta(microseconds=1), INSTANTS[0]]),
    }
)
OTHER_SCHEMA = pa.schema(
    [("a", pa.int64()), ("b", pa.string()), ("c", pa.int32()), ("at", pa.timestamp("us", "UTC"))]
)


@given(rows=st.lists(ROW, max_size=24))
@examples(5, **UNSHRUNK)
def test_both_engines_agree_on_what_no_contract_uses_yet(rows: list[dict[str, Any]]) -> None:
    meta = {"severity": "warning", "dimension": "validity", "requirements": ["SA-62"]}
    meta |= {"description": "A rule.", "is_row_rule": False, "is_blocking": False}
    rules = [{**rule, **meta, "rule": f"rule_{at}"} for at, rule in enumerate(OTHER_RULES)]
    contract = Contract.model_validate(
        {
            "table": "other",
            "asset": "a/b/other",
            "description": "Rules.",
            "key_columns": ["a", "b"],
            "expectations": rules,
        }
    )
    table = pa.Table.from_pylist(rows, schema=OTHER_SCHEMA)
    assert validate(contract, table, now=NOW) == run_suite(contract, table, now=NOW)


@pytest.mark.parametrize("name", CONTRACTS)
@given(data=st.data())
@MODEST
def test_rows_that_keep_all_row_rules_pass_them_in_great_expectations(
    name: str, data: st.DataObject
) -> None:
    contract, rows = CONTRACTS[name], data.draw(_tables(name))
    chosen = [one for one in contract.expectations if one.is_row_rule]
    with duckdb.connect() as connection:
        where = " AND ".join(rule.predicate for rule in row_rules(contract))
        kept = connection.from_arrow(rows).filter(where).to_arrow_table()
    results = run_suite(contract.model_copy(update={"expectations": chosen}), kept, now=NOW)
    assert [one.rule for one in results if not one.passed] == []
