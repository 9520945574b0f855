"""Each threshold of every pipeline, crossed: just inside passes, just outside fails.

The figures are written out once more here, from the requirements and not from the runbook, so
that a slip in the runbook turns a test red.
"""

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
NEXT = 1e-9


@dataclass(frozen=True)
class Crossing:
    """The value that still passes, the one that fails, and what follows.

    `minutes` is the response time, by default that of advisory_performance's severities.
    """

    threshold: str
    inside: float
    outside: float
    severity: str = "warning"
    route: str = "data_quality_issues"
    pipeline: str = ADVISORY
    minutes: int | None = None

    @property
    def response_minutes(self) -> int:
        if self.minutes is not None:
            return self.minutes
        return {"critical": 0, "warning": 240}[self.severity]


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
    Crossing("refused_files", 0, NEXT),
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
CROSSINGS += [
    Crossing(name, inside, outside, severity, route, WEB, minutes)
    for name, inside, outside, severity, route, minutes in [
        ("failed_runs", 0, 1, "critical", "pipeline_failures", 0),
        ("error_rate", 5, 5 + NEXT, "critical", "error_rate", 15),
        ("refused_files", 5, 5 + NEXT, "critical", "error_rate", 15),
        ("data_quality_score", 0.8, 0.8 - NEXT, "warning", "quality_degradation", 60),
        ("data_quality_score", 0.8, 0.7 - NEXT, "critical", "error_rate", 30),
        ("quality_trend", -0.01 + NEXT, -0.01, "warning", "quality_degradation", 240),
        ("quality_drop", 0.05, 0.05 + NEXT, "warning", "quality_degradation", 240),
        ("quality_drop", 0.05, 0.2 + NEXT, "critical", "error_rate", 15),
        ("cost_increase", 20, 20 + NEXT, "warning", "cost", 1440),
        ("stream_silence", 10, 10 + NEXT, "warning", "performance", 120),
        ("stream_silence", 10, 60 + NEXT, "critical", "data_lag", 30),
        ("stream_iterator_age", 60, 60 + NEXT, "warning", "performance", 120),
        ("stream_iterator_age", 60, 240 + NEXT, "critical", "data_lag", 30),
        ("stream_retention_used", 50, 50 + NEXT, "warning", "performance", 120),
        ("stream_retention_used", 50, 75 + NEXT, "critical", "data_lag", 30),
        ("stream_error_rate", 5, 5 + NEXT, "critical", "error_rate", 15),
        ("bot_share_spike", 20, 20 + NEXT, "warning", "quality_degradation", 240),
        ("unseen_kinds", 0, 1, "warning", "quality_degradation", 240),
        ("schema_drift", 0, 1, "warning", "quality_degradation", 240),
        ("hourly_volume", 5, 5 + NEXT, "warning", "quality_degradation", 240),
        ("conservation", 0, 1, "critical", "data_corruption", 15),
        ("processing_latency", 60, 60 + NEXT, "warning", "performance", 120),
        ("processing_latency", 60, 240 + NEXT, "critical", "data_lag", 30),
        ("last_closed_date", 0, 1, "warning", "quality_degradation", 120),
        ("rows_of_today", 1, 0, "warning", "quality_degradation", 120),
        ("query_time", 10, 10 + NEXT, "warning", "performance", 120),
        ("slow_queries", 30, 30 + NEXT, "warning", "performance", 120),
    ]
]
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
