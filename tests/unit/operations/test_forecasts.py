"""Forecasts: the interval holds as many outcomes as it says, whatever the series is like."""

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline_platform.operations.forecasts import (
    Series,
    coverage,
    crossing,
    draw_paths,
    forecast,
    not_forecastable_reason,
)

FIRST = date(2026, 1, 5)
HOURLY_LINES_OF_A_REAL_SITE = [
    74, 111, 115, 118, 120, 125, 126, 123, 118, 121, 129, 123, 118, 111, 116, 118, 125, 114, 115,
    125, 121, 124, 110, 122, 132, 121, 120, 119, 122, 133, 114, 132, 123, 113, 113, 130, 113, 118,
    117, 122, 125, 113, 125, 122, 130, 111, 121, 117, 121, 115, 115, 125, 134, 112, 115, 110, 130,
    136, 124, 114, 115, 127, 128, 120, 115, 127, 115, 124, 115, 122, 114, 125, 116, 112, 112, 113,
    122, 126, 118, 119, 107, 123, 120,
]  # fmt: skip
"""Lines per hour of the access log of elastic/examples (Apache-2.0), 17 to 20 May 2015."""


def series(values, scale="multiplicative", days=None):
    days = days or [FIRST + timedelta(days=number) for number in range(len(values))]
    return Series("events", "Events a day", "rows", tuple(days), tuple(map(float, values)), scale)


def trend_and_week(noise, count):
    steps = np.arange(count)
    return 0.01 * steps + 0.3 * np.sin(2 * np.pi * steps / 7) + noise.normal(0, 0.2, count)


def wandering_level(noise, count):
    return np.cumsum(noise.normal(0.005, 0.1, count)) + noise.normal(0, 0.1, count)


def lasting_shocks(noise, count):
    shocks = np.zeros(count)
    for step in range(1, count):
        shocks[step] = 0.6 * shocks[step - 1] + noise.normal(0, 0.15)
    return 0.005 * np.arange(count) + shocks


@pytest.mark.parametrize("make", [trend_and_week, wandering_level, lasting_shocks])
@pytest.mark.parametrize("known_days", [35, 60])
def test_about_nine_of_ten_outcomes_lie_in_the_interval(make, known_days):
    """Ninety days from five weeks, too; the shortest histories keep a little less."""
    noise = np.random.default_rng(20261001)
    inside = []
    for _ in range(40):
        whole = make(noise, known_days + 90)
        at, ahead = np.arange(known_days), np.arange(known_days, known_days + 90)
        paths = draw_paths(at, whole[:known_days], ahead, period=7, count=400)
        lower, upper = np.quantile(paths, [0.05, 0.95], axis=0)
        inside.append((lower <= whole[known_days:]) & (whole[known_days:] <= upper))
    assert 0.8 <= np.mean(inside) <= 1


def test_an_interval_is_not_kept_by_being_endless():
    """For a trend with a week's pattern it is about as narrow as the noise lets it be."""
    whole = trend_and_week(np.random.default_rng(7), 210)
    paths = draw_paths(np.arange(120), whole[:120], np.arange(120, 210), period=7)
    lower, upper = np.quantile(paths, [0.05, 0.95], axis=0)
    assert np.mean(upper - lower) < 2.5 * 2 * 1.645 * 0.2


def test_the_interval_holds_the_hours_of_a_real_site():
    hours = np.log1p(HOURLY_LINES_OF_A_REAL_SITE)
    assert coverage(hours, period=24, first=52, horizon=12) >= 0.85


def test_a_weekly_pattern_is_carried_on():
    values = [100 if day % 7 == 6 else 1000 for day in range(70)]
    made = forecast(series(values), 14)
    assert [round(value, -1) for value in made.median[:7]] == [1000] * 6 + [100]


def test_growth_in_proportion_is_carried_on():
    made = forecast(series([1000 * 1.01**day for day in range(100)]), 90)
    assert made.median[-1] == pytest.approx(1000 * 1.01**189, rel=0.02)


def test_growth_by_amounts_is_carried_on():
    made = forecast(series([1000 + 50 * day for day in range(100)], "additive"), 90)
    assert made.median[-1] == pytest.approx(1000 + 50 * 189, rel=0.02)


def test_a_forecast_never_falls_below_nothing():
    made = forecast(series([1000 - 25 * day for day in range(40)], "additive"), 90)
    assert min(made.lower) == 0


def test_a_constant_series_stays():
    made = forecast(series([500] * 40), 30)
    assert (made.lower[-1], made.upper[-1]) == (pytest.approx(500), pytest.approx(500))


def test_missing_days_are_bridged():
    days = [FIRST + timedelta(days=number) for number in range(80) if number % 5]
    values = [1000 + 50 * (day - FIRST).days for day in days]
    made = forecast(series(values, "additive", days), 10)
    assert (made.days[0], made.median[0]) == (FIRST + timedelta(days=80), pytest.approx(5000, 0.01))


def test_the_same_series_gives_the_same_forecast():
    values = trend_and_week(np.random.default_rng(1), 60) + 5
    first, second = forecast(series(values), 30), forecast(series(values), 30)
    assert (first.median, first.upper) == (second.median, second.upper)


def test_a_crossing_is_where_the_trend_meets_the_limit():
    made = forecast(series([1000 + 50 * day for day in range(100)], "additive"), 90)
    when = crossing(made, 1000 + 50 * 130 - 10)
    assert when.median == FIRST + timedelta(days=130)
    assert when.earliest <= when.median <= when.latest
    assert when.probability == 1


def test_a_limit_beyond_the_forecast_has_no_day():
    made = forecast(series([1000 + 50 * day for day in range(100)], "additive"), 90)
    when = crossing(made, 1_000_000)
    assert (when.probability, when.earliest, when.median, when.latest) == (0, None, None, None)


def test_an_uncertain_crossing_has_an_early_day_and_no_late_one():
    noise = np.random.default_rng(3)
    values = 1000 + np.cumsum(noise.normal(0, 20, 120))
    made = forecast(series(values, "additive"), 90)
    when = crossing(made, made.median[-1] + 0.5 * (made.upper[-1] - made.median[-1]))
    assert 0.05 < when.probability < 0.95
    assert when.earliest is not None
    assert when.latest is None


TODAY = FIRST + timedelta(days=40)
ENOUGH = {"minimum_days": 28, "oldest_days": 7}


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ([], "nothing was observed yet"),
        (range(27), "27 days were observed, at least 28 are needed"),
        (range(30), "the last observed day is 2026-02-03, 11 days ago"),
        ([*range(-30, -1), 39], "40 of the days since 2025-12-06 are missing"),
    ],
)
def test_a_series_that_can_not_be_forecast_says_why(days, reason):
    listed = [FIRST + timedelta(days=number) for number in days]
    found = series([1] * len(listed), days=listed or ())
    assert not_forecastable_reason(found, TODAY, **ENOUGH) == reason


def test_a_series_that_can_be_forecast_has_no_reason():
    assert not_forecastable_reason(series([1] * 40), TODAY, **ENOUGH) is None
