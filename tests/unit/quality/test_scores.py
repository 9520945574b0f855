"""Quality by dimension and overall."""

from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.scores import DIMENSIONS, Part, QualityScore, combine, score
from pipeline_platform.quality.thresholds import Dimension
from tests.unit.quality.silver_rows import CONTRACTS, Row, as_table, good_row

WEIGHTS: dict[Dimension, float] = {
    "completeness": 0.25,
    "validity": 0.25,
    "uniqueness": 0.10,
    "consistency": 0.10,
    "timeliness": 0.10,
    "accuracy": 0.20,
}
OTHER_RATES = [Part(dimension, "rate", 1, 1) for dimension in ("timeliness", "accuracy")]


def _rows(count: int, **last: Any) -> list[Row]:
    rows = [good_row("valuations", account_id=f"A{n}") for n in range(count)]
    return [*rows[:-1], {**rows[-1], **last}]


def _score(rows: list[Row], rates: list[Part] | None = None) -> QualityScore:
    with duckdb.connect() as connection:
        relation = connection.from_arrow(as_table("valuations", rows))
        chosen = OTHER_RATES if rates is None else rates
        return score([(CONTRACTS["valuations"], relation)], WEIGHTS, rates=chosen)


def test_good_rows_score_a_hundred() -> None:
    assert _score(_rows(10)).overall == 100


@pytest.mark.parametrize(
    ("damage", "dimension"),
    [
        ({"market_value": None}, "completeness"),
        ({"currency": "usd"}, "validity"),
        ({"account_id": "A0"}, "uniqueness"),
        ({"as_of_month": date(2026, 11, 1)}, "consistency"),
        ({"fees": Decimal("-1")}, "accuracy"),
    ],
)
def test_one_bad_row_of_ten_costs_ten_points_of_its_dimension(
    damage: Row, dimension: Dimension
) -> None:
    scores = _score(_rows(10, **damage)).dimensions
    assert {name for name, value in scores.items() if value == 90} == {dimension}


def test_late_files_cost_points_of_timeliness() -> None:
    rates = [Part("timeliness", "files in time", 3, 4), Part("accuracy", "rate", 1, 1)]
    assert _score(_rows(10), rates).dimensions["timeliness"] == 75


def test_a_dimension_costs_its_weight() -> None:
    assert _score(_rows(10, market_value=None)).overall == pytest.approx(97.5)


def test_the_worst_part_is_the_dimensions_score() -> None:
    rates = [Part("accuracy", "a", 9, 10), Part("accuracy", "b", 1, 2)]
    assert combine(rates, {"accuracy": 1}, row_count=10).dimensions["accuracy"] == 50


def test_a_dimension_without_data_is_not_a_hundred() -> None:
    assert combine(OTHER_RATES[:1], WEIGHTS, row_count=0).unmeasured == (
        *("completeness", "validity", "uniqueness", "consistency", "accuracy"),
    )


def test_a_score_that_lacks_half_of_the_weight_is_not_measurable() -> None:
    assert combine(OTHER_RATES, WEIGHTS, row_count=0).overall is None


def test_a_score_that_is_not_measurable_says_what_is_missing() -> None:
    measurement = combine([], WEIGHTS, row_count=0).measurement()
    assert "timeliness" in str(measurement.not_measurable_reason)


def test_an_empty_table_has_no_score() -> None:
    assert _score([], rates=[]).overall is None


def test_the_sample_is_the_number_of_rows() -> None:
    assert _score(_rows(10)).measurement().sample_size == 10


def test_the_worst_parts_come_as_offenders() -> None:
    offenders = _score(_rows(10, market_value=None)).measurement().offenders
    assert offenders == ("valuations: rows that keep the rules 90.00",)


_parts = st.builds(
    lambda dimension, total, bad: Part(dimension, "x", max(total - bad, 0), total),
    st.sampled_from(DIMENSIONS),
    st.integers(0, 1000),
    st.integers(0, 1000),
)


@given(st.lists(_parts, max_size=20))
def test_no_score_leaves_the_scale(parts: list[Part]) -> None:
    overall = combine(parts, WEIGHTS, row_count=1).overall
    assert overall is None or -1e-9 <= overall <= 100 + 1e-9


@given(st.lists(_parts, max_size=20), _parts)
def test_another_part_never_raises_its_dimension(parts: list[Part], more: Part) -> None:
    before = combine(parts, WEIGHTS, row_count=1).dimensions[more.dimension]
    after = combine([*parts, more], WEIGHTS, row_count=1).dimensions[more.dimension]
    assert before is None or (after is not None and after <= before)


def test_a_score_is_measured_with_its_dimensions() -> None:
    found = _score(_rows(10, currency="usd"))
    assert found.measurement().parts == {
        name: value for name, value in found.dimensions.items() if value is not None
    }
    assert found.measurement().parts["validity"] == 90
