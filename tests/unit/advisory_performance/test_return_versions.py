"""Versions of returns: unchanged rows stay, changed rows are superseded, nothing is lost (B-4)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.return_versions import (
    with_fingerprints,
    with_versions,
)
from pipeline_platform.advisory_performance.tables import TIME_WEIGHTED_RETURNS
from pipeline_platform.failures import BadInputError
from tests.examples import examples
from tests.unit.advisory_performance.return_inputs import Flow, Value, day, returns_of

FIRST = datetime(2026, 4, 1, 6, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)
VALUES = [
    *(Value(day(f"2026-03-{number:02}"), str(100 + number), "0.1") for number in range(2, 7)),
    *(Value(day(f"2026-03-{number:02}"), "50", account="B") for number in range(2, 7)),
]


def corrected(number: int, **changes: str) -> list[Value]:
    return [*VALUES[:number], replace(VALUES[number], **changes), *VALUES[number + 1 :]]


def published(values: list[Value], flows: tuple[Flow, ...] = ()) -> pa.Table:
    return with_versions(returns_of(values, flows).table, None, published_at=FIRST)


def republished(values: list[Value], flows: tuple[Flow, ...] = ()) -> pa.Table:
    new = returns_of(values, flows).table
    return with_versions(new, published(VALUES), published_at=SECOND)


def current(table: pa.Table) -> pa.Table:
    return table.filter(table["is_current"])


def new_days(table: pa.Table) -> list[tuple[str, int]]:
    """Account and day of month of every row that became known at SECOND."""
    return [
        (row["account_id"], row["as_of_date"].day)
        for row in table.to_pylist()
        if row["known_from"] == SECOND
    ]


def test_the_result_has_the_schema_of_its_table():
    assert published(VALUES).schema == TIME_WEIGHTED_RETURNS.schema


def test_a_first_publication_is_all_current():
    assert set(published(VALUES)["is_current"].to_pylist()) == {True}


def test_computing_the_same_again_changes_nothing():
    assert republished(VALUES).equals(published(VALUES))


def test_versions_that_duckdb_read_are_recognised():
    with duckdb.connect() as connection:
        stored = connection.from_arrow(published(VALUES)).to_arrow_table()
    again = with_versions(returns_of(VALUES).table, stored, published_at=SECOND)
    assert again.equals(published(VALUES))


def test_a_correction_renews_the_day_and_all_that_link_from_it():
    assert new_days(republished(corrected(2, amount="110"))) == [("A", 4), ("A", 5), ("A", 6)]


def test_a_correction_of_the_last_day_renews_only_that():
    assert new_days(republished(corrected(4, amount="110"))) == [("A", 6)]


@pytest.mark.parametrize("changes", [{"fees": "0.2"}, {"currency": "EUR"}])
def test_every_input_of_a_row_counts(changes):
    assert ("A", 6) in new_days(republished(corrected(4, **changes)))


def test_a_flow_counts():
    assert new_days(republished(VALUES, (Flow(day("2026-03-06"), "1"),))) == [("A", 6)]


def test_the_superseded_version_ends_when_the_new_one_begins():
    versions = republished(corrected(4, amount="110")).to_pylist()
    found = [(row["known_from"], row["known_to"], row["is_current"]) for row in versions[4:6]]
    assert found == [(FIRST, SECOND, False), (SECOND, None, True)]


def test_what_was_known_before_can_still_be_asked():
    versions = republished(corrected(2, amount="110")).to_pylist()
    known = [
        row["net_return_since_inception"]
        for row in versions
        if row["known_from"] <= FIRST and (row["known_to"] is None or row["known_to"] > FIRST)
    ]
    assert known == published(VALUES)["net_return_since_inception"].to_pylist()


def test_a_day_that_is_no_longer_delivered_ends():
    ended = republished(VALUES[:-1]).to_pylist()[-1]
    assert (ended["as_of_date"].day, ended["known_to"], ended["is_current"]) == (6, SECOND, False)


def test_a_new_day_begins():
    more = [*VALUES, Value(day("2026-03-09"), "50", account="B")]
    assert new_days(republished(more)) == [("B", 9)]


def test_a_correction_of_a_correction_keeps_three_versions():
    second = republished(corrected(4, amount="110"))
    third = with_versions(returns_of(VALUES).table, second, published_at=SECOND + timedelta(days=1))
    assert third.num_rows == published(VALUES).num_rows + 2


def test_a_clock_that_runs_backwards_is_refused():
    previous = with_versions(returns_of(VALUES).table, None, published_at=SECOND)
    with pytest.raises(BadInputError, match="check the clock"):
        with_versions(returns_of(corrected(4, amount="110")).table, previous, published_at=FIRST)


def test_two_current_versions_of_a_day_are_refused():
    previous = published(VALUES)
    doubled = pa.concat_tables([previous, previous.slice(3, 1)])
    with pytest.raises(BadInputError, match="Account A has two current versions of 2026-03-05"):
        with_versions(returns_of(VALUES).table, doubled, published_at=SECOND)


def test_a_fingerprint_is_sixteen_hexadecimal_digits():
    prints = with_fingerprints(returns_of(VALUES).table)["input_fingerprint"].to_pylist()
    assert {(len(each), int(each, 16) >= 0) for each in prints} == {(16, True)}


def test_values_that_change_places_change_the_fingerprint():
    table = returns_of(VALUES).table.slice(1, 1)
    swapped = pa.table(
        {
            **{name: table[name] for name in table.column_names},
            "opening_value": table["market_value"],
            "market_value": table["opening_value"],
        }
    )
    one, other = (
        with_fingerprints(each)["input_fingerprint"].to_pylist() for each in (table, swapped)
    )
    assert one != other


def test_fingerprints_do_not_depend_on_neighbours_or_chunks():
    table = returns_of(VALUES).table
    cut = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    one_by_one = [
        with_fingerprints(cut.slice(number, 1))["input_fingerprint"][0].as_py()
        for number in range(cut.num_rows)
    ]
    assert with_fingerprints(cut)["input_fingerprint"].to_pylist() == one_by_one


@examples(60)
@given(
    st.lists(
        st.lists(st.sampled_from(["100", "101", "0", "90.5"]), min_size=0, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_published_in_turn_the_current_rows_are_the_last_result(publications):
    versions = None
    for number, amounts in enumerate(publications):
        values = [Value(day(f"2026-03-{1 + at:02}"), each) for at, each in enumerate(amounts)]
        result = returns_of(values).table
        versions = with_versions(result, versions, published_at=FIRST + timedelta(hours=number))
    assert current(versions).select(result.column_names).equals(result)
