"""The template for CloudWatch is what the runbook says, in the form that AWS takes."""

import json

import pytest

from pipeline_platform.commands.generate import FOLDER
from pipeline_platform.operations.cloudwatch_template import alarms, template
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.thresholds import metric_name
from tests.unit.quality.test_thresholds_crossed import CROSSINGS, Crossing

OF_EACH_PIPELINE = pytest.mark.parametrize("pipeline", sorted(runbooks()))
COMPARE = {
    "GreaterThanThreshold": lambda value, limit: value > limit,
    "GreaterThanOrEqualToThreshold": lambda value, limit: value >= limit,
    "LessThanThreshold": lambda value, limit: value < limit,
    "LessThanOrEqualToThreshold": lambda value, limit: value <= limit,
}


def alarms_on(crossing: Crossing, value: float) -> bool:
    """Tell whether the alarm of a band is on at a value, by AWS' own words for operators."""
    runbook = runbooks()[crossing.pipeline]
    name = f"{crossing.pipeline}-{crossing.threshold}-{crossing.severity}"
    (alarm,) = [one for one in alarms(runbook) if one["AlarmName"] == name]
    return COMPARE[alarm["ComparisonOperator"]](value, alarm["Threshold"])


@pytest.mark.parametrize("crossing", CROSSINGS, ids=lambda one: f"{one.pipeline}-{one.threshold}")
def test_an_alarm_is_on_just_outside_its_limit_only(crossing: Crossing) -> None:
    assert (alarms_on(crossing, crossing.inside), alarms_on(crossing, crossing.outside)) == (
        False,
        True,
    )


@OF_EACH_PIPELINE
def test_the_file_is_what_the_runbook_says(pipeline: str) -> None:
    written = (FOLDER / "cloudwatch" / f"{pipeline}.json").read_text("utf-8")
    assert written == template(runbooks()[pipeline])


@OF_EACH_PIPELINE
def test_an_alarm_without_data_is_never_green(pipeline: str) -> None:
    found = {alarm["TreatMissingData"] for alarm in alarms(runbooks()[pipeline])}
    assert found == {"missing", "breaching"}


@OF_EACH_PIPELINE
def test_names_and_descriptions_are_as_long_as_aws_takes(pipeline: str) -> None:
    found = alarms(runbooks()[pipeline])
    assert max(len(alarm["AlarmName"]) for alarm in found) <= 255
    assert max(len(alarm["AlarmDescription"]) for alarm in found) <= 1024


@OF_EACH_PIPELINE
def test_every_threshold_is_on_the_dashboard_with_its_limits(pipeline: str) -> None:
    resource = json.loads(template(runbooks()[pipeline]))["Resources"]["Dashboard"]
    widgets = json.loads(resource["Properties"]["DashboardBody"]["Fn::Sub"])["widgets"]
    shown = {
        one["properties"]["metrics"][0][1]: {
            line["value"] for line in one["properties"]["annotations"]["horizontal"]
        }
        for one in widgets
        if "annotations" in one["properties"]
    }
    assert shown == {
        metric_name(name): {band.limit for band in one.bands}
        for name, one in runbooks()[pipeline].thresholds.items()
    }


def test_dashboard_and_namespace_have_the_names_of_the_rows() -> None:
    names = {
        one.cloudwatch.dashboard: (one.cloudwatch.namespace, [*one.cloudwatch.series])
        for one in runbooks().values()
    }
    assert "advisory-performance-etl-dashboard" in names
    assert names["web-events-dashboard"] == ("Custom/WebEvents", ["EventsPerDay"])
