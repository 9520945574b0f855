"""What a check's result says beside passed or failed: parts of its value, and what to do."""

from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.orchestration.checks import RUNBOOK_PAGE, threshold_result, threshold_specs
from pipeline_platform.quality.measurements import Measurement, judge

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
    assert result_of(10.0).metadata["runbook"].value == RUNBOOK_PAGE
    assert "runbook" not in result_of(97.0).metadata


def test_every_check_of_a_threshold_is_declared_with_its_runbook() -> None:
    specs = threshold_specs(load_runbook().thresholds.values())
    assert {spec.metadata["runbook"] for spec in specs} == {RUNBOOK_PAGE}
