"""Each kind of mutation does to rows what its description says; one that does nothing is known."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.mutation_copies import COPY, PLACE, copy_rows, digest, unchanged
from pipeline_platform.quality.mutations import KINDS, Mutation, mutations_of
from tests.examples import examples

TABLE = LakeTable(
    "shop",
    "silver",
    "prices",
    pa.schema(
        [
            pa.field("shop", pa.string(), nullable=False),
            pa.field("day", pa.date32(), nullable=False),
            pa.field("price", pa.decimal128(9, 2), nullable=False),
            pa.field("discount", pa.decimal128(9, 2)),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("code", pa.string()),
            pa.field("note", pa.string()),
            pa.field("at", pa.timestamp("us", tz="UTC")),
        ]
    ),
    "Prices.",
    partition_by="day",
)


def rule(kind: str, **kwargs: object) -> dict[str, object]:
    return {
        "type": kind,
        "kwargs": kwargs,
        "rule": kind.removeprefix("expect_"),
        "description": "A rule.",
        "severity": "warning",
        "dimension": "validity",
        "requirements": ["B-15"],
        "is_row_rule": False,
        "is_blocking": False,
    }


CONTRACT = Contract.model_validate(
    {
        "table": "prices",
        "asset": "shop/silver/prices",
        "description": "Prices.",
        "key_columns": ["shop", "day"],
        "expectations": [
            rule("expect_column_values_to_be_between", column="price", min_value=0, max_value=99),
            rule("expect_column_values_to_be_in_set", column="kind", value_set=["new", "used"]),
            rule("expect_column_values_to_match_regex", column="code", regex="^[A-Z]+$"),
            rule("expect_compound_columns_to_be_unique", column_list=["shop", "day"]),
        ],
    }
)
DAYS = [date(2026, 11, day) for day in range(1, 11)]
ROWS = [
    {
        "shop": f"S{shop}",
        "day": day,
        "price": 10 + shop + place,
        "discount": None if shop else 1,
        "kind": "new" if shop % 2 else "used",
        "code": "AB",
        "note": "café" if shop else "plain",
        "at": datetime(2026, 11, 1, 12, tzinfo=UTC),
    }
    for place, day in enumerate(DAYS)
    for shop in range(10)
]
Row = dict[str, object]


def copied(engine: duckdb.DuckDBPyConnection, rows: list[Row], parts: int = 1) -> int:
    nullable = pa.schema([field.with_nullable(True) for field in TABLE.schema])
    engine.execute("SET TimeZone = 'UTC'")
    relation = engine.from_arrow(pa.Table.from_pylist(rows, nullable))
    return copy_rows(engine, TABLE, CONTRACT, relation, parts)


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        copied(connection, ROWS)
        yield connection


def rows_of(engine: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    return engine.sql(query).to_arrow_table().to_pylist()


def damaged(engine: duckdb.DuckDBPyConnection, kind: str, *columns: str) -> list[tuple[Row, Row]]:
    """Return the rows of a mutation that keeps all of them, each with what it was."""
    (mutation,) = [
        one
        for one in mutations_of(TABLE, CONTRACT, engine)
        if one.kind == kind and one.columns == columns
    ]
    order = f"SELECT * FROM ({{}}) ORDER BY {PLACE}"
    before = rows_of(engine, order.format(f"SELECT * FROM {COPY}"))
    query = mutation.query.replace("SELECT ", f"SELECT {PLACE}, ", 1)
    after = rows_of(engine, order.format(query))
    return list(zip(before, after, strict=True))


def only(engine: duckdb.DuckDBPyConnection, kind: str) -> Mutation:
    (found,) = [one for one in mutations_of(TABLE, CONTRACT, engine) if one.kind == kind]
    return found


def test_of_a_part_of_the_rows_each_shop_is_whole() -> None:
    with duckdb.connect() as engine:
        count = copied(engine, ROWS, parts=3)
        shops = engine.sql(f"SELECT count(*) FROM {COPY} GROUP BY shop").fetchall()
    assert 0 < count < len(ROWS)
    assert {rows for (rows,) in shops} == {len(DAYS)}


def test_every_kind_is_derived_from_some_schema_and_contract(engine) -> None:
    assert {one.kind for one in mutations_of(TABLE, CONTRACT, engine)} == set(KINDS)


def test_only_required_columns_become_null(engine) -> None:
    found = [one for one in mutations_of(TABLE, CONTRACT, engine) if one.kind == "null_in_required"]
    assert [one.columns for one in found] == [("shop",), ("day",), ("price",), ("kind",)]


def test_a_tenth_of_the_rows_becomes_null(engine) -> None:
    assert (
        sum(after["price"] is None for _, after in damaged(engine, "null_in_required", "price"))
        == 10
    )


def test_of_a_sparse_column_a_tenth_of_the_values_is_damaged(engine) -> None:
    pairs = damaged(engine, "wrong_sign", "discount")
    assert sum(after["discount"] != before["discount"] for before, after in pairs) == 1


def test_a_value_beyond_the_contracts_limit_is_just_beyond_it(engine) -> None:
    values = {after["price"] for _, after in damaged(engine, "out_of_range", "price")}
    assert 100 in values


def test_a_value_without_a_limit_is_far_beyond_all_others(engine) -> None:
    values = {after["discount"] for _, after in damaged(engine, "out_of_range", "discount")}
    assert 2000 in values


def test_what_does_not_fit_the_type_is_its_largest_value() -> None:
    with duckdb.connect() as engine:
        copied(engine, [{**row, "discount": 9_000_000} for row in ROWS])
        values = {after["discount"] for _, after in damaged(engine, "out_of_range", "discount")}
    assert values == {9_000_000, Decimal("9999999.99")}


def test_a_unit_is_read_wrongly_in_all_rows(engine) -> None:
    pairs = damaged(engine, "unit_times_100", "price")
    assert all(after["price"] == before["price"] * 100 for before, after in pairs)


def test_an_unknown_value_is_in_no_set(engine) -> None:
    values = {after["kind"] for _, after in damaged(engine, "unknown_value", "kind")}
    assert values == {"new", "used", "not_a_known_value"}


def test_a_text_with_a_form_loses_it(engine) -> None:
    assert {after["code"] for _, after in damaged(engine, "malformed_text", "code")} == {
        "AB",
        "AB ?",
    }


def test_another_encoding_is_what_latin_1_makes_of_utf_8(engine) -> None:
    values = {after["note"] for _, after in damaged(engine, "other_encoding", "note")}
    assert values == {"plain", "café".encode().decode("latin-1")}


def test_neighbours_of_one_type_are_swapped(engine) -> None:
    pairs = damaged(engine, "swapped_columns", "code", "note")
    assert all((after["code"], after["note"]) == (b["note"], b["code"]) for b, after in pairs)


def test_another_time_zone_is_five_hours_off(engine) -> None:
    pairs = damaged(engine, "other_time_zone", "at")
    assert {before["at"] - after["at"] for before, after in pairs} == {timedelta(hours=5)}


def test_a_shifted_day_is_the_day_before(engine) -> None:
    pairs = damaged(engine, "shifted_day", "day")
    assert {before["day"] - after["day"] for before, after in pairs} == {timedelta(days=1)}


def test_a_stale_day_repeats_the_numbers_of_the_day_before(engine) -> None:
    pairs = damaged(engine, "stale_day", "price", "discount")
    changed = {(b["shop"], b["day"]): after["price"] for b, after in pairs if b != after}
    assert changed == {(f"S{shop}", DAYS[-1]): 10 + shop + 8 for shop in range(10)}


def test_duplicated_rows_stand_twice(engine) -> None:
    rows = rows_of(engine, only(engine, "duplicated_rows").query)
    assert Counter(Counter(map(str, rows)).values()) == {1: 90, 2: 10}


def test_a_tenth_of_the_rows_is_dropped(engine) -> None:
    assert len(rows_of(engine, only(engine, "dropped_rows").query)) == 90


def test_all_rows_of_a_tenth_of_the_shops_are_dropped(engine) -> None:
    shops = {row["shop"] for row in rows_of(engine, only(engine, "dropped_keys").query)}
    assert shops == {f"S{shop}" for shop in range(1, 10)}


def test_a_file_cut_off_lacks_its_last_third(engine) -> None:
    assert len(rows_of(engine, only(engine, "truncated").query)) == 66


def test_the_last_column_is_missing(engine) -> None:
    assert "at" not in rows_of(engine, only(engine, "missing_column").query)[0]


@examples(8)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "shop": st.sampled_from(["S1", "S2"]),
                "day": st.sampled_from(DAYS[:3]),
                "price": st.sampled_from([0, 1, 7]),
                "discount": st.sampled_from([None, 0, 1]),
                "kind": st.sampled_from(["new", "used"]),
                "code": st.sampled_from([None, "A"]),
                "note": st.sampled_from([None, "a", "é"]),
                "at": st.sampled_from([None, datetime(2026, 11, 1, tzinfo=UTC)]),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_mutation_changes_something_if_its_rows_are_others(rows: list[Row]) -> None:
    with duckdb.connect() as engine:
        copied(engine, rows)
        clean = Counter(map(str, rows_of(engine, unchanged(TABLE))))
        for mutation in mutations_of(TABLE, CONTRACT, engine):
            differs = Counter(map(str, rows_of(engine, mutation.query))) != clean
            is_other = digest(engine, mutation.query) != digest(engine, unchanged(TABLE))
            assert is_other == differs


def test_the_page_describes_every_kind() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mutations.md").read_text("utf-8")
    assert [kind for kind, what in KINDS.items() if f"| `{kind}` | {what} |" not in page] == []
