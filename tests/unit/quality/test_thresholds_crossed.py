"""Each threshold of every pipeline, crossed: just inside passes, just outside fails.

The figures are written out once more in `crossings.csv`, from the requirements and not from the
runbook, so that a slip in the runbook turns a test red. `docs/coverage.md` names them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipeline_platform
from pipeline_platform.quality.measurements import Measurement, judge, unmeasured
from pipeline_platform.quality.thresholds import Threshold
from pipeline_platform.runbook import Runbook

RUNBOOKS = {
    path.parent.name: Runbook.load(path)
    for path in sorted(Path(pipeline_platform.__file__).parent.glob("*/runbook.yaml"))
}
ADVISORY, WEB = "advisory_performance", "web_events"


@dataclass(frozen=True)
class Crossing:
    """The value that still passes, the one that fails, and what follows."""

    pipeline: str
    threshold: str
    severity: str
    inside: float
    outside: float
    route: str
    response_minutes: int


def _crossings() -> list[Crossing]:
    with Path(__file__).with_name("crossings.csv").open(encoding="utf-8") as file:
        return [
            Crossing(
                **{
                    **row,
                    "inside": float(row["inside"]),
                    "outside": float(row["outside"]),
                    "response_minutes": int(row["response_minutes"]),
                }
            )
            for row in csv.DictReader(file)
        ]


CROSSINGS = _crossings()
SAMPLES = {
    (ADVISORY, "pipeline_success_rate"): 20,
    (ADVISORY, "data_quality_score"): 100,
    (ADVISORY, "reconciliation_pass_rate"): 100,
    (ADVISORY, "tolerance_violations"): 100,
    (ADVISORY, "return_variance"): 100,
    (ADVISORY, "data_completeness"): 100,
    (ADVISORY, "data_validity"): 100,
    (ADVISORY, "cost_anomaly"): 14,
    (WEB, "error_rate"): 100,
    (WEB, "data_quality_score"): 100,
    (WEB, "quality_trend"): 3,
    (WEB, "quality_drop"): 3,
    (WEB, "stream_error_rate"): 20,
    (WEB, "bot_share_spike"): 100,
    (WEB, "schema_drift"): 100,
    (WEB, "hourly_volume"): 100,
}
BLOCKING = {
    (ADVISORY, "conservation", "critical"),
    (ADVISORY, "data_validity", "critical"),
    (WEB, "conservation", "critical"),
}
every_crossing = pytest.mark.parametrize(
    "crossing", CROSSINGS, ids=lambda one: f"{one.pipeline}-{one.threshold}-{one.severity}"
)
every_threshold = pytest.mark.parametrize(
    "threshold",
    [one for runbook in RUNBOOKS.values() for one in runbook.thresholds.values()],
    ids=lambda one: one.asset.split("/")[0] + "-" + one.name,
)


def _threshold(crossing: Crossing) -> Threshold:
    return RUNBOOKS[crossing.pipeline].thresholds[crossing.threshold]


def _measured(threshold: Threshold, value: float) -> Measurement:
    return Measurement(threshold.name, value, sample_size=max(threshold.minimum_sample, 1))


def test_every_band_of_every_threshold_is_crossed() -> None:
    bands = {
        (name, threshold.name, band.severity)
        for name, runbook in RUNBOOKS.items()
        for threshold in runbook.thresholds.values()
        for band in threshold.bands
    }
    assert {(one.pipeline, one.threshold, one.severity) for one in CROSSINGS} == bands


@every_crossing
def test_just_inside_passes(crossing: Crossing) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.inside), threshold)
    assert (verdict.outcome, verdict.severity) == ("pass", None)


@every_crossing
def test_just_outside_fails_with_its_severity_and_route(crossing: Crossing) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.outside), threshold)
    assert (verdict.outcome, verdict.severity, verdict.route) == (
        "fail",
        crossing.severity,
        crossing.route,
    )


@every_crossing
def test_the_response_time_is_that_of_the_band(crossing: Crossing) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.outside), threshold)
    assert verdict.response_minutes == crossing.response_minutes


@every_crossing
def test_only_a_critical_breach_of_a_blocking_threshold_stops_publication(
    crossing: Crossing,
) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.outside), threshold)
    key = (crossing.pipeline, crossing.threshold, crossing.severity)
    assert verdict.is_blocking == (key in BLOCKING)


@every_threshold
def test_without_data_nothing_passes(threshold: Threshold) -> None:
    verdict = judge(unmeasured(threshold.name, "the source did not answer"), threshold)
    assert (verdict.outcome, verdict.severity) == ("not_measurable", None)


@every_threshold
def test_what_is_not_a_number_is_not_measurable(threshold: Threshold) -> None:
    verdict = judge(_measured(threshold, float("nan")), threshold)
    assert verdict.outcome == "not_measurable"


def _crossing(pipeline: str, name: str) -> Crossing:
    return next(one for one in CROSSINGS if (one.pipeline, one.threshold) == (pipeline, name))


@pytest.mark.parametrize(("pipeline", "name"), SAMPLES)
def test_below_the_minimum_sample_nothing_is_judged(pipeline: str, name: str) -> None:
    crossing = _crossing(pipeline, name)
    measurement = Measurement(name, crossing.outside, sample_size=SAMPLES[pipeline, name] - 1)
    assert judge(measurement, _threshold(crossing)).outcome == "not_measurable"


@pytest.mark.parametrize(("pipeline", "name"), SAMPLES)
def test_from_the_minimum_sample_on_it_is_judged(pipeline: str, name: str) -> None:
    crossing = _crossing(pipeline, name)
    measurement = Measurement(name, crossing.outside, sample_size=SAMPLES[pipeline, name])
    assert judge(measurement, _threshold(crossing)).outcome == "fail"
