"""How values are measured and judged."""

from datetime import UTC, datetime

import pytest

from pipeline_platform.quality.measurements import (
    Measurement,
    judge,
    percentage,
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
        check="load",
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
