"""One source of rules, two engines: Great Expectations and DuckDB agree on every row."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_platform.quality.contracts import row_rules, validate
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
MODEST = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes here
)
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
    return st.lists(row, min_size=1, max_size=25).map(
        lambda rows: pa.Table.from_pylist(rows, schema=schema)
    )


@pytest.mark.parametrize("name", CONTRACTS)
@given(data=st.data())
@MODEST
def test_both_engines_find_the_same_number_of_breaches(name: str, data: st.DataObject) -> None:
    contract, rows = CONTRACTS[name], data.draw(_tables(name))
    counted = [one for one in contract.expectations if one.is_per_row]
    with duckdb.connect() as connection:
        columns = [f"count(*) FILTER (NOT {one.predicate})" for one in counted]
        found = connection.from_arrow(rows).aggregate(", ".join(columns)).fetchone()
    chosen = contract.model_copy(update={"expectations": counted})
    expected = {one.rule: one.failing_count for one in validate(chosen, rows, now=NOW)}
    assert dict(zip([one.rule for one in counted], found or (), strict=True)) == expected


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
    results = validate(contract.model_copy(update={"expectations": chosen}), kept, now=NOW)
    assert [one.rule for one in results if not one.passed] == []
