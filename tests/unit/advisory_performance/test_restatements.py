"""What corrections changed, what is material, and what was known when (B-4)."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.restatements import (
    Materiality,
    as_known_at,
    restatements,
)
from pipeline_platform.advisory_performance.tables import (
    RESTATEMENTS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.failures import BadInputError, InvalidRunbookError
from tests.examples import examples
from tests.unit.advisory_performance.sample_accounts import table

DAY = date(2024, 3, 5)
FIRST, SECOND, THIRD = (datetime(2024, 3, day, 6, tzinfo=UTC) for day in (6, 7, 8))


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def versions(column, *values, day=DAY, sha="cd" * 32):
    """Rows for the values that were known one after the other, from the given instants."""
    rows = []
    for number, (instant, value) in enumerate(values):
        last = number + 1 == len(values)
        rows.append(
            {
                "account_id": "A1",
                "as_of_date": day,
                "market_value": Decimal(100),
                column: None if value is None else Decimal(value),
                "known_from": instant,
                "known_to": None if last else values[number + 1][0],
                "is_current": last,
                "file_sha256": f"{number}" * 64 if sha is None else sha,
            }
        )
    return rows


def changes(con, valuations=(), returns=(), materiality=None):
    return restatements(
        con,
        valuations=con.from_arrow(table(VALUATIONS.schema, valuations)),
        returns=con.from_arrow(table(TIME_WEIGHTED_RETURNS.schema, returns)),
        materiality=materiality or Materiality(),
    )


def rows(relation):
    return relation.to_arrow_table().to_pylist()


def test_the_relation_has_exactly_the_columns_and_types_of_the_table(con):
    found = changes(con).to_arrow_table().schema

    assert [(field.name, field.type) for field in found] == [
        (field.name, field.type) for field in RESTATEMENTS.schema
    ]


def test_a_corrected_value_is_listed_with_both_figures(con):
    found = rows(changes(con, versions("market_value", (FIRST, "100"), (SECOND, "101"))))[0]

    assert (found["measure"], found["previous_value"], found["restated_value"]) == (
        "market_value",
        Decimal(100),
        Decimal(101),
    )


def test_a_restatement_says_since_when_each_figure_was_known(con):
    found = rows(changes(con, versions("market_value", (FIRST, "100"), (SECOND, "101"))))[0]

    assert (found["previously_known_from"], found["restated_at"]) == (FIRST, SECOND)


def test_the_file_that_brought_the_correction_is_named(con):
    delivered = versions("market_value", (FIRST, "100"), (SECOND, "101"), sha=None)

    assert rows(changes(con, delivered))[0]["file_sha256"] == "1" * 64


def test_a_return_names_the_file_that_corrected_its_value(con):
    delivered = versions("market_value", (FIRST, "100"), (SECOND, "101"), sha=None)
    computed = versions(
        "net_return_daily",
        (FIRST + timedelta(hours=1), "0.01"),
        (SECOND + timedelta(hours=1), "0.02"),
    )

    found = rows(changes(con, delivered, computed))

    assert {one["measure"]: one["file_sha256"] for one in found}["net_return_daily"] == "1" * 64


def test_a_return_that_changed_through_another_day_names_no_file(con):
    found = rows(changes(con, (), versions("net_return_mtd", (FIRST, "0.01"), (SECOND, "0.02"))))

    assert found[0]["file_sha256"] is None


def test_nothing_is_restated_while_there_is_one_version(con):
    assert rows(changes(con, versions("market_value", (FIRST, "100")))) == []


def test_a_version_with_the_same_figure_is_no_restatement(con):
    same = versions("market_value", (FIRST, "100"), (SECOND, "100"))

    assert rows(changes(con, same)) == []


def test_each_pair_of_following_versions_is_a_restatement(con):
    three = versions("market_value", (FIRST, "100"), (SECOND, "101"), (THIRD, "100"))

    assert [one["restated_value"] for one in rows(changes(con, three))] == [101, 100]


def test_a_return_that_appeared_has_nothing_to_be_compared_with(con):
    appeared = versions("net_return_daily", (FIRST, "0.01"), (SECOND, None), (THIRD, "0.02"))

    assert rows(changes(con, (), appeared)) == []


@pytest.mark.parametrize(
    ("measure", "restated", "is_material"),
    [
        ("net_return_daily", "0.010999", False),
        ("net_return_daily", "0.011000", True),
        ("net_return_daily", "0.009000", True),
        ("net_return_mtd", "0.011000", True),
        ("gross_return_ytd", "0.012499", False),
        ("gross_return_ytd", "0.012500", True),
        ("net_return_since_inception_annualised", "0.012500", True),
    ],
)
def test_a_return_is_material_from_its_limit_on(con, measure, restated, is_material):
    found = rows(changes(con, (), versions(measure, (FIRST, "0.01"), (SECOND, restated))))[0]

    assert found["is_material"] is is_material


@pytest.mark.parametrize(
    ("restated", "is_material"),
    [("100.4999", False), ("100.5", True), ("99.5", True), ("99.5001", False)],
)
def test_a_value_is_material_from_half_a_percent_on(con, restated, is_material):
    found = rows(changes(con, versions("market_value", (FIRST, "100"), (SECOND, restated))))[0]

    assert found["is_material"] is is_material


def test_a_value_that_was_nought_is_material_and_has_no_relative_difference(con):
    found = rows(changes(con, versions("market_value", (FIRST, "0"), (SECOND, "0.01"))))[0]

    assert (found["is_material"], found["difference_bps"]) == (True, None)


def test_the_difference_of_a_value_is_relative_to_the_value_before(con):
    found = rows(changes(con, versions("market_value", (FIRST, "-200"), (SECOND, "-198"))))[0]

    assert found["difference_bps"] == Decimal(100)


def test_the_rule_that_decided_is_written_down(con):
    found = rows(changes(con, (), versions("net_return_ytd", (FIRST, "0.01"), (SECOND, "0.02"))))

    assert found[0]["materiality_rule"] == "return of a longer period changed by 25 bps or more"


def test_another_policy_judges_the_same_change_otherwise(con):
    returns = versions("net_return_daily", (FIRST, "0.01"), (SECOND, "0.011"))
    strict = Materiality(return_bps=11)

    assert rows(changes(con, (), returns, strict))[0]["is_material"] is False


def test_a_negative_limit_is_refused():
    with pytest.raises(InvalidRunbookError):
        Materiality(return_bps=-1)


def known(con, instant):
    three = versions("market_value", (FIRST, "100"), (SECOND, "101"), (THIRD, "102"))
    relation = con.from_arrow(table(VALUATIONS.schema, three))
    return [value for (value,) in as_known_at(relation, instant).project("market_value").fetchall()]


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (FIRST - timedelta(microseconds=1), []),
        (FIRST, [100]),
        (SECOND - timedelta(microseconds=1), [100]),
        (SECOND, [101]),
        (THIRD + timedelta(days=1000), [102]),
    ],
)
def test_a_report_of_an_instant_shows_what_was_known_then(con, instant, expected):
    assert known(con, instant) == expected


def test_the_time_zone_of_the_connection_does_not_matter(con):
    con.execute("SET TimeZone = 'Asia/Tokyo'")

    assert known(con, SECOND) == [101]


def test_an_instant_without_a_time_zone_is_refused(con):
    with pytest.raises(BadInputError, match="time zone"):
        known(con, datetime(2024, 3, 7))  # noqa: DTZ001


@examples(12)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=6, unique=True), st.integers(-1, 101))
def test_at_every_instant_at_most_one_version_is_known(hours, asked):
    instants = [FIRST + timedelta(hours=hour) for hour in sorted(hours)]
    rows_ = versions("market_value", *((instant, n) for n, instant in enumerate(instants)))
    moment = FIRST + timedelta(hours=asked)
    expected = [n for n, instant in enumerate(instants) if instant <= moment]

    with duckdb.connect() as con:
        relation = con.from_arrow(table(VALUATIONS.schema, rows_))
        found = as_known_at(relation, moment).project("market_value")

        assert [int(value) for (value,) in found.fetchall()] == expected[-1:]


@examples(10)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=6))
def test_restatements_lead_from_the_first_version_to_the_last(percents):
    instants = [FIRST + timedelta(hours=hour) for hour in range(len(percents))]
    figures = [Decimal(percent) / 100 for percent in percents]
    known_figures = zip(instants, figures, strict=True)
    with duckdb.connect() as con:
        found = rows(changes(con, (), versions("net_return_daily", *known_figures)))

    moved = sum(one["restated_value"] - one["previous_value"] for one in found)
    assert moved == figures[-1] - figures[0]
