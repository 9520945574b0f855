"""What a check's result says beside passed or failed: parts of its value, and what to do."""

import dagster as dg

from pipeline_platform.advisory_performance.audit import contracts
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.orchestration.checks import (
    expectation_result,
    threshold_result,
    threshold_specs,
)
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.runbook_page import CHECKS_PAGE

EXPECTATION = contracts()["valuations"].expectations[0]
SCORE = load_runbook().thresholds["data_quality_score"]


def result_of(value: float):
    measured = Measurement(
        SCORE.name, value, sample_size=1000, parts={"validity": 91.5, "accuracy": 99.0}
    )
    return threshold_result(SCORE, measured, judge(measured, SCORE))


def test_a_score_tells_each_dimension_as_a_number() -> None:
    metadata = result_of(97.0).metadata
    assert (metadata["part/validity"].value, metadata["part/accuracy"].value) == (91.5, 99.0)


def test_a_check_that_does_not_pass_says_where_the_remedy_is() -> None:
    assert result_of(10.0).metadata["runbook"].value == CHECKS_PAGE
    assert "runbook" not in result_of(97.0).metadata


def test_every_check_of_a_threshold_is_declared_with_its_runbook() -> None:
    specs = threshold_specs(load_runbook().thresholds.values())
    assert {spec.metadata["runbook"] for spec in specs} == {CHECKS_PAGE}


def test_a_rule_about_rows_tells_how_many_break_it_of_how_many() -> None:
    result = EXPECTATION.result(passed=False, observed="", failing_count=3, row_count=100)
    metadata = expectation_result(dg.AssetKey("a"), result).metadata
    assert (metadata["failing_rows"].value, metadata["rows"].value) == (3, 100)
