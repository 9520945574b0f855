"""Another limit against what was observed: the same verdicts today, others tomorrow (B-2)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import BadInputError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.backtest import Backtest, backtest, band_of
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.quality.observations import Observation
from pipeline_platform.quality.thresholds import Threshold

BEGAN = datetime(2026, 9, 1, tzinfo=UTC)
LAG = runbooks()["web_events"].thresholds["processing_latency"]  # at most 60 and 240 minutes
SCORE = runbooks()["web_events"].thresholds["data_quality_score"]  # at least 0.8 and 0.7
VALUES = st.lists(st.none() | st.floats(0, 400), max_size=40)


def observed(
    threshold: Threshold, values: list[float | None], **where: object
) -> list[Observation]:
    """Return an observation an hour, judged by today's limits; None is not measurable."""
    found = []
    for number, value in enumerate(values):
        verdict = judge(Measurement(threshold.name, value), threshold)
        found.append(
            Observation(
                observed_at=BEGAN + timedelta(hours=number),
                check_name=threshold.name,
                outcome=verdict.outcome,
                severity=verdict.severity,
                value=value,
                limit=verdict.limit,
                numerator=None,
                denominator=None,
                asset_key=threshold.asset,
                partition_key=str(where.get("partition")) if where else None,
                reason=verdict.sentence,
            )
        )
    return found


def tried(
    threshold: Threshold, limit: float, values: list[float | None], severity: str | None = None
) -> Backtest:
    return backtest(threshold, band_of(threshold, severity), limit, observed(threshold, values))


def hours(found: Backtest) -> list[tuple[float | None, float | None]]:
    """Return the hour at which each firing began, under today's and under the tried limit."""
    return [
        tuple(
            None if one is None else (one.began_at - BEGAN) / timedelta(hours=1)
            for one in (difference.today, difference.tried)
        )
        for difference in found.differences
    ]


@given(VALUES)
def test_todays_limit_fires_exactly_where_a_verdict_failed(values: list[float | None]) -> None:
    recorded = observed(LAG, values)
    firings = backtest(LAG, band_of(LAG, "warning"), 60, recorded).today
    failing = {
        one.observed_at
        for one in recorded
        for firing in firings
        if one.outcome != "not_measurable"
        and firing.began_at <= one.observed_at
        and (firing.ended_at is None or one.observed_at < firing.ended_at)
    }
    assert failing == {one.observed_at for one in recorded if one.outcome == "fail"}


@given(VALUES)
def test_the_same_limit_tried_differs_in_nothing(values: list[float | None]) -> None:
    found = tried(LAG, 240, values)
    assert found.today == found.tried


@given(VALUES, st.floats(241, 500))
def test_a_wider_limit_never_fires_where_todays_does_not(
    values: list[float | None], limit: float
) -> None:
    assert all(one.today is not None for one in tried(LAG, limit, values).differences)


def test_a_narrower_limit_fires_earlier() -> None:
    found = tried(LAG, 100, [10, 120, 300, 50])
    assert (hours(found), found.differences[0].delay) == ([(2, 1)], timedelta(hours=-1))


def test_a_wider_limit_fires_later() -> None:
    assert tried(LAG, 350, [250, 300, 360, 50]).differences[0].delay == timedelta(hours=2)


def test_a_wider_limit_misses_what_stayed_below_it() -> None:
    assert hours(tried(LAG, 350, [250, 50, 360])) == [(0, None), (2, 2)]


def test_a_narrower_limit_fires_where_today_nothing_does() -> None:
    assert hours(tried(LAG, 100, [50, 120, 50, 300])) == [(None, 1), (3, 3)]


def test_a_limit_from_below_fires_below_it() -> None:
    assert hours(tried(SCORE, 0.75, [0.9, 0.72, 0.65, 0.9])) == [(2, 1)]


def test_what_is_not_measurable_neither_begins_nor_ends_a_firing() -> None:
    found = tried(LAG, 240, [None, 300, None, 300, 10])
    assert [one.ended_at for one in found.today] == [BEGAN + timedelta(hours=4)]


def test_what_is_still_broken_has_no_end() -> None:
    assert [one.ended_at for one in tried(LAG, 240, [300, 300]).today] == [None]


def test_each_partition_is_on_its_own() -> None:
    october = observed(SCORE, [0.6, 0.6], partition="2026-10")
    november = observed(SCORE, [0.9, 0.6], partition="2026-11")
    both = sorted([*october, *november], key=lambda one: one.observed_at)
    found = backtest(SCORE, band_of(SCORE, "critical"), 0.7, both)
    assert [one.partition_key for one in found.today] == ["2026-10", "2026-11"]


def test_the_worst_value_of_a_firing_is_kept() -> None:
    assert tried(SCORE, 0.7, [0.6, 0.4, 0.65, 0.9]).today[0].worst == 0.4


def test_without_a_severity_the_severest_band_is_tried() -> None:
    assert band_of(LAG, None).severity == "critical"


def test_a_milder_band_counts_what_is_worse_too() -> None:
    assert len(tried(LAG, 60, [300], "warning").today) == 1


def test_a_band_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInputError, match="has no info band; it has critical, warning"):
        band_of(LAG, "info")


@pytest.mark.parametrize(
    ("count", "is_enough"), [(0, False), (19, False), (168, False), (169, True)]
)
def test_a_week_of_observations_is_enough(count: int, is_enough: bool) -> None:
    assert tried(LAG, 240, [1.0] * count).is_enough == is_enough


def test_a_week_without_a_measured_value_is_not() -> None:
    assert not tried(LAG, 240, [None] * 200).is_enough
