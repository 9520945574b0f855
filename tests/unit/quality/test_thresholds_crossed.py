"""Each threshold of advisory_performance, crossed: just inside passes, just outside fails.

The figures are written out once more here, from the requirements and not from the runbook, so
that a slip in the runbook turns a test red.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_platform import advisory_performance
from pipeline_platform.advisory_performance.rulings import Runbook
from pipeline_platform.quality.measurements import Measurement, judge, unmeasured
from pipeline_platform.quality.thresholds import Threshold

RUNBOOK = Runbook.load(Path(advisory_performance.__file__).parent / "runbook.yaml")
NEXT = 1e-9


@dataclass(frozen=True)
class Crossing:
    """The value that still passes, the one that fails, and with which severity."""

    threshold: str
    inside: float
    outside: float
    severity: str = "warning"
    route: str = "data_quality_issues"


CROSSINGS = [
    Crossing("pipeline_success_rate", 99 + NEXT, 99, "critical", "pipeline_failures"),
    Crossing("data_quality_score", 95 + NEXT, 95),
    Crossing("reconciliation_pass_rate", 95 + NEXT, 95),
    Crossing("tolerance_violations", 1 - NEXT, 1),
    Crossing("return_variance", 3, 3 + NEXT),
    Crossing("data_completeness", 99 + NEXT, 99),
    Crossing("data_validity", 99 + NEXT, 99),
    Crossing("data_validity", 99 + NEXT, 50 - NEXT, "critical", "data_corruption"),
    Crossing("conservation", 0, 1, "critical", "data_corruption"),
    Crossing("processing_latency", 120 - NEXT, 120, route="performance_degradation"),
    Crossing("processing_time_per_file", 30 - NEXT, 30, route="performance_degradation"),
    Crossing("oldest_file_in_processing", 30 - NEXT, 30, route="performance_degradation"),
    Crossing("vendor_silence", 4, 4 + NEXT),
    Crossing("last_closed_month", 0, 1),
    Crossing("months_made_ahead", 0, 1, route="capacity_thresholds"),
    Crossing("default_partition_rows", 0, 1, route="capacity_thresholds"),
    Crossing("database_cpu", 80 - NEXT, 80, route="capacity_thresholds"),
    Crossing("database_connections", 79, 80, route="capacity_thresholds"),
    Crossing("database_connection_share", 80 - NEXT, 80, route="capacity_thresholds"),
    Crossing("database_query_response", 5 - NEXT, 5, route="performance_degradation"),
    Crossing("cost_anomaly", 40, 40 + NEXT, route="cost_anomalies"),
]
SAMPLES = {
    "pipeline_success_rate": 20,
    "data_quality_score": 100,
    "reconciliation_pass_rate": 100,
    "tolerance_violations": 100,
    "return_variance": 100,
    "data_completeness": 100,
    "data_validity": 100,
    "database_cpu": 5,
    "cost_anomaly": 14,
}
BLOCKING = {("conservation", "critical"), ("data_validity", "critical")}
every_crossing = pytest.mark.parametrize(
    "crossing", CROSSINGS, ids=lambda one: f"{one.threshold}-{one.severity}"
)
every_threshold = pytest.mark.parametrize(
    "threshold", RUNBOOK.thresholds.values(), ids=lambda one: one.name
)


def _threshold(crossing: Crossing) -> Threshold:
    return RUNBOOK.thresholds[crossing.threshold]


def _measured(threshold: Threshold, value: float) -> Measurement:
    return Measurement(threshold.name, value, sample_size=max(threshold.minimum_sample, 1))


def test_every_band_of_every_threshold_is_crossed() -> None:
    bands = {(t.name, band.severity) for t in RUNBOOK.thresholds.values() for band in t.bands}
    assert {(one.threshold, one.severity) for one in CROSSINGS} == bands


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
def test_the_response_time_is_that_of_the_severity(crossing: Crossing) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.outside), threshold)
    assert verdict.response_minutes == {"critical": 0, "warning": 240}[crossing.severity]


@every_crossing
def test_only_a_critical_breach_of_a_blocking_threshold_stops_publication(
    crossing: Crossing,
) -> None:
    threshold = _threshold(crossing)
    verdict = judge(_measured(threshold, crossing.outside), threshold)
    assert verdict.is_blocking == ((crossing.threshold, crossing.severity) in BLOCKING)


@every_threshold
def test_without_data_nothing_passes(threshold: Threshold) -> None:
    verdict = judge(unmeasured(threshold.name, "the source did not answer"), threshold)
    assert (verdict.outcome, verdict.severity) == ("not_measurable", None)


@every_threshold
def test_what_is_not_a_number_is_not_measurable(threshold: Threshold) -> None:
    verdict = judge(_measured(threshold, float("nan")), threshold)
    assert verdict.outcome == "not_measurable"


@pytest.mark.parametrize("name", SAMPLES)
def test_below_the_minimum_sample_nothing_is_judged(name: str) -> None:
    crossing = next(one for one in CROSSINGS if one.threshold == name)
    measurement = Measurement(name, crossing.outside, sample_size=SAMPLES[name] - 1)
    assert judge(measurement, RUNBOOK.thresholds[name]).outcome == "not_measurable"


@pytest.mark.parametrize("name", SAMPLES)
def test_from_the_minimum_sample_on_it_is_judged(name: str) -> None:
    crossing = next(one for one in CROSSINGS if one.threshold == name)
    measurement = Measurement(name, crossing.outside, sample_size=SAMPLES[name])
    assert judge(measurement, RUNBOOK.thresholds[name]).outcome == "fail"
