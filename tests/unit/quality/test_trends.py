"""Slope and drop of a daily figure."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.trends import drop, slope_per_day

DAY = date(2026, 10, 1)
SCORES = st.lists(st.floats(0, 1), min_size=3, max_size=7)


def points(values: list[float]) -> list[tuple[date, float]]:
    return [(DAY + timedelta(days=number), value) for number, value in enumerate(values)]


@given(st.floats(-0.1, 0.1), st.floats(0, 1), st.integers(3, 7))
def test_the_slope_of_a_line_is_its_slope(slope: float, start: float, days: int) -> None:
    line = points([start + slope * number for number in range(days)])

    assert slope_per_day(line) == pytest.approx(slope, abs=1e-9)


def test_a_missing_day_counts_as_time() -> None:
    found = [(DAY, 0.9), (DAY + timedelta(days=1), 0.8), (DAY + timedelta(days=5), 0.4)]

    assert slope_per_day(found) == pytest.approx(-0.1)


@given(SCORES)
def test_the_slope_turns_with_the_days(values: list[float]) -> None:
    turned = slope_per_day(points(values[::-1]))

    assert slope_per_day(points(values)) == pytest.approx(-turned, abs=1e-9)


def test_a_drop_is_the_distance_of_the_newest_day_from_the_mean_before() -> None:
    assert drop(points([0.9, 0.7, 0.5])) == pytest.approx(0.3)


@given(SCORES)
def test_a_drop_does_not_depend_on_the_order_in_which_days_come(values: list[float]) -> None:
    assert drop(points(values)[::-1]) == drop(points(values))
