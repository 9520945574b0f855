"""Outlooks: what is said of a series, and the picture."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline_platform.operations.capacity import finding_of, outlooks, plot
from pipeline_platform.operations.forecasts import Series
from pipeline_platform.operations.plan import runbooks

FIRST, TODAY = date(2026, 1, 1), date(2026, 3, 2)


def growing(count=60):
    days = tuple(FIRST + timedelta(days=number) for number in range(count))
    values = tuple(1000.0 + 50 * number for number in range(count))
    return Series("disk/bytes", "disk: size", "bytes", days, values, "additive")


def outlook(series, limit=None):
    limits = {} if limit is None else {series.name: limit}
    (found,) = outlooks([series], limits, today=TODAY, horizon_days=90)
    return found


def test_the_forecast_ends_so_many_days_from_today():
    assert outlook(growing()).forecast.days[-1] == TODAY + timedelta(days=90)


def test_a_limit_that_will_be_crossed_has_its_day():
    row = outlook(growing(), 1000 + 50 * 100).row()
    assert row["crossing_median"] == FIRST + timedelta(days=100)
    assert "is crossed about 2026-04-11" in outlook(growing(), 6000).sentence


def test_a_limit_that_is_crossed_already_is_called_so():
    found = outlook(growing(), 2000)
    assert found.is_crossed
    assert "is crossed already" in found.sentence


def test_a_limit_far_away_is_probably_not_crossed():
    assert "probably not crossed until then (0%)" in outlook(growing(), 1e9).sentence


def test_a_series_without_a_limit_says_so():
    assert "has no limit in the runbook" in outlook(growing()).sentence


def test_too_little_history_is_not_measurable_and_never_a_forecast():
    found = outlook(growing(10), 6000)
    assert (found.forecast, found.crossing) == (None, None)
    assert found.sentence == (
        "disk: size is not measurable: 10 days were observed, at least 28 are needed."
    )


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_has_every_series(tmp_path, ending):
    path = tmp_path / f"capacity.{ending}"
    plot([outlook(growing(), 6000), outlook(growing(10))], path)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_nothing_to_draw_is_an_empty_picture(tmp_path):
    plot([], tmp_path / "capacity.png")
    assert (tmp_path / "capacity.png").exists()


AT = datetime(2026, 3, 2, tzinfo=UTC)


def told(found):
    return finding_of(found, runbooks()["advisory_performance"], AT)


@pytest.mark.parametrize(("limit", "is_fine"), [(2000, False), (6000, False), (1e9, True)])
def test_who_is_told_of_capacity_is_told_of_a_limit_that_is_or_will_be_crossed(limit, is_fine):
    finding = told(outlook(growing(), limit))
    assert (finding.is_fine, finding.route) == (is_fine, "capacity_thresholds")
    assert (finding.severity, finding.response_minutes) == ("warning", 240)


@pytest.mark.parametrize(("days", "limit"), [(60, None), (10, 6000)])
def test_without_a_limit_or_a_forecast_nobody_is_told_anything(days, limit):
    assert told(outlook(growing(days), limit)) is None
