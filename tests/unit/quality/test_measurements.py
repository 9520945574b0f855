"""How values are measured and judged."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.quality.measurements import (
    Measurement,
    highest,
    judge,
    percentage,
    spread_against_history,
    sustained,
    unmeasured,
)
from pipeline_platform.quality.thresholds import Band, Direction, Severity, Threshold

START = datetime(2026, 10, 1, tzinfo=UTC)


def _band(limit: float, severity: Severity = "warning", **changes: object) -> Band:
    values = {"is_inclusive": True, "response_minutes": 1, "route": "r", **changes}
    return Band(limit=limit, severity=severity, **values)


def _threshold(
    direction: Direction, *bands: Band, minimum_sample: int = 0, is_blocking: bool = False
) -> Threshold:
    return Threshold(
        name="load",
        title="Load",
        requirements=["X"],
        measure="Load.",
        unit="percent",
        direction=direction,
        clock="wall",
        window="now",
        minimum_sample=minimum_sample,
        bands=list(bands),
        is_blocking=is_blocking,
        stage="service",
        asset="a/b/c",
    )


@pytest.mark.parametrize(
    ("value", "severity"), [(79, None), (81, "info"), (86, "warning"), (96, "critical")]
)
def test_the_most_severe_broken_band_decides(value: float, severity: str | None) -> None:
    bands = [_band(80, "info"), _band(95, "critical"), _band(85, "warning")]
    assert judge(Measurement("load", value), _threshold("at_most", *bands)).severity == severity


@pytest.mark.parametrize(
    ("value", "is_inclusive", "outcome"),
    [
        (10, True, "pass"),
        (10, False, "fail"),
        (20, True, "pass"),
        (20, False, "fail"),
        (15, False, "pass"),
        (9.99, True, "fail"),
        (20.01, True, "fail"),
    ],
)
def test_between_has_two_ends(value: float, is_inclusive: bool, outcome: str) -> None:
    threshold = _threshold("between", _band(10, upper_limit=20, is_inclusive=is_inclusive))
    assert judge(Measurement("load", value), threshold).outcome == outcome


def test_a_sentence_names_value_limit_and_unit() -> None:
    verdict = judge(Measurement("load", 81.5), _threshold("at_most", _band(80)))
    assert verdict.sentence == "Load is 81.5 percent, but must be at most 80 percent."


def test_a_sentence_says_why_something_is_not_measurable() -> None:
    verdict = judge(unmeasured("load", "no access."), _threshold("at_most", _band(80)))
    assert verdict.sentence == "Load is not measurable: no access."


def test_a_reason_wins_over_a_value() -> None:
    measurement = Measurement("load", 1.0, not_measurable_reason="the clock is wrong")
    assert judge(measurement, _threshold("at_most", _band(80))).outcome == "not_measurable"


def test_a_value_without_a_sample_is_a_fact() -> None:
    threshold = _threshold("at_most", _band(80), minimum_sample=100)
    assert judge(Measurement("load", 1.0), threshold).outcome == "pass"


def test_a_verdict_keeps_numerator_and_denominator() -> None:
    verdict = judge(percentage("load", 3, 4), _threshold("at_most", _band(80)))
    assert (verdict.value, verdict.numerator, verdict.denominator) == (75, 3, 4)


def test_a_share_of_nothing_is_not_measurable() -> None:
    assert judge(percentage("load", 0, 0), _threshold("at_least", _band(80))).outcome == (
        "not_measurable"
    )


def test_a_share_has_its_denominator_as_sample() -> None:
    assert percentage("load", 3, 4).sample_size == 4


def test_no_more_than_ten_offenders_are_kept() -> None:
    assert len(percentage("load", 1, 2, offenders=[str(n) for n in range(50)]).offenders) == 10


def test_the_highest_value_counts_and_only_breaches_offend() -> None:
    measurement = highest(_threshold("at_most", _band(80)), [("a", 70), ("b", 99), ("c", 85)])
    assert (measurement.value, measurement.offenders) == (99, ("b", "c"))


def test_the_highest_of_nothing_is_not_measurable() -> None:
    threshold = _threshold("at_most", _band(80))
    assert judge(highest(threshold, []), threshold).outcome == "not_measurable"


@given(
    loads=st.lists(st.floats(0, 100), min_size=15, max_size=15),
    limit=st.floats(1, 99),
)
def test_sustained_load_breaks_a_limit_exactly_when_five_minutes_do(
    loads: list[float], limit: float
) -> None:
    verdict = judge(sustained("load", loads, 5), _threshold("at_most", _band(limit)))
    assert (verdict.outcome == "fail") == (sum(load > limit for load in loads) >= 5)


def test_load_is_not_sustained_over_fewer_minutes_than_are_needed() -> None:
    threshold = _threshold("at_most", _band(80))
    assert judge(sustained("load", [99, 99, 99, 99], 5), threshold).outcome == "not_measurable"


def _history(*values: float) -> list[tuple[datetime, float]]:
    return [(START + timedelta(days=day), value) for day, value in enumerate(values)]


def test_a_spread_is_compared_with_the_median_of_the_days_before() -> None:
    measurement = spread_against_history("load", [-6, 6], _history(1, 2, 100))
    assert measurement.value == 3


def test_a_spread_without_history_is_not_measurable() -> None:
    assert spread_against_history("load", [1, 2], []).not_measurable_reason is not None


def test_a_spread_after_days_without_any_is_not_measurable() -> None:
    assert spread_against_history("load", [1, 2], _history(0, 0)).value is None


def test_no_spread_after_days_without_any_is_none() -> None:
    assert spread_against_history("load", [1, 1], _history(0, 0)).value == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50), st.floats(-1e3, 1e3))
def test_a_spread_does_not_depend_on_the_level(values: list[float], shift: float) -> None:
    plain = spread_against_history("load", values, _history(1)).value
    shifted = spread_against_history("load", [v + shift for v in values], _history(1)).value
    assert plain == pytest.approx(shifted, rel=1e-6, abs=1e-6)
