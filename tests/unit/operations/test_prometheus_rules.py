"""Rules for Prometheus fire where the runbook says, by Prometheus' own judgement (SP-10, SP-16)."""

from pathlib import Path

import pytest
import yaml

from pipeline_platform.commands.generate import FOLDER
from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.operations.prometheus_rules import (
    PROMISES,
    check_rules,
    outside_rules,
    rule_file,
)
from pipeline_platform.quality.thresholds import metric_name
from tests.platform.test_documentation import anchors_of
from tests.unit.operations.promtool import RULES, Case, complaints, needs_promtool, promtool
from tests.unit.quality.test_thresholds_crossed import CROSSINGS as ALL_CROSSINGS
from tests.unit.quality.test_thresholds_crossed import Crossing

WEB, ADVISORY = "web_events", "advisory_performance"
CROSSINGS = [one for one in ALL_CROSSINGS if one.threshold not in PROMISES]
"""What is promised of a month has rules from outside."""
EVENTS = "web_events/silver/web_events"
RETURNS = "advisory_performance/gold/time_weighted_returns"
AGE = f'pipeline_freshness_seconds{{pipeline="{WEB}",asset="{EVENTS}"}}'
TASKS = 'potato_pipeline_tasks_total{{pipeline="{}",status="{}"}}'
BUCKET = 'potato_pipeline_task_duration_seconds_bucket{{pipeline="web_events",le="{}"}}'
OBSERVED = (
    f'pipeline_check_observed_timestamp{{pipeline="{WEB}",check="error_rate",asset="{EVENTS}"}}'
)
OF_EACH_PIPELINE = pytest.mark.parametrize("pipeline", sorted(alertings()))


def observed(crossing: Crossing, value: float, outcome: str = "fail") -> dict[str, str]:
    """Return the series of a check that observed a value."""
    labels = f'pipeline="{crossing.pipeline}",check="{crossing.threshold}",asset="a"'
    return {
        f"pipeline_check_value{{{labels}}}": f"{value}x5",
        f'pipeline_check_outcome{{{labels},outcome="{outcome}"}}': "1x5",
    }


def case_of(crossing: Crossing, series: dict[str, str], *, fires: bool) -> Case:
    alert = metric_name(crossing.threshold)
    labels = {"severity": crossing.severity, "route": crossing.route}
    return Case(crossing.pipeline, alert, labels, series, 1, fires)


def steps(failed: int, done: int, pipeline: str = WEB) -> dict[str, str]:
    """Return counters after so many failed and successful steps of an hour, and a quiet day."""
    return {
        TASKS.format(pipeline, "failure"): f"0 {failed}x1500",
        TASKS.format(pipeline, "success"): f"0 {done}x1500",
    }


def durations(quick: int, slow: int) -> dict[str, str]:
    """Return a histogram of steps that took less than 600 s, and of some that took more."""
    return {
        **steps(0, quick + slow),
        BUCKET.format("600.0"): f"0 {quick}x1500",
        BUCKET.format("1800.0"): f"0 {quick + slow}x1500",
        BUCKET.format("+Inf"): f"0 {quick + slow}x1500",
    }


OUTSIDE = {
    "younger than the first limit": Case(WEB, "PipelineDataStale", {}, {AGE: "3600x9"}, 7, False),
    "old, but not for five minutes": Case(WEB, "PipelineDataStale", {}, {AGE: "3601x9"}, 4, False),
    "old for five minutes": Case(WEB, "PipelineDataStale", {}, {AGE: "3601x9"}, 6, True),
    "critical at once": Case(WEB, "PipelineDataCritical", {}, {AGE: "14401x9"}, 0, True),
    "critical is not stale, too": Case(WEB, "PipelineDataStale", {}, {AGE: "14401x9"}, 7, False),
    "a missed deadline": Case(
        ADVISORY,
        "PipelineDataCritical",
        {"asset": RETURNS},
        {f'pipeline_deadline_missed{{pipeline="{ADVISORY}",asset="{RETURNS}"}}': "1x5"},
        1,
        True,
    ),
    "a kept deadline": Case(
        ADVISORY,
        "PipelineDataCritical",
        {"asset": RETURNS},
        {f'pipeline_deadline_missed{{pipeline="{ADVISORY}",asset="{RETURNS}"}}': "0x5"},
        1,
        False,
    ),
    "one failure of a hundred": Case(WEB, "PipelineFailureRate", {}, steps(1, 99), 60, False),
    "six failures of a hundred": Case(WEB, "PipelineFailureRate", {}, steps(6, 94), 60, True),
    "the first failures ever": Case(WEB, "PipelineFailureRate", {}, steps(20, 0), 60, True),
    "six failures, not for ten minutes": Case(
        WEB, "PipelineFailureRate", {}, steps(6, 94), 9, False
    ),
    "failures of too few steps": Case(WEB, "PipelineFailureRate", {}, steps(9, 10), 60, False),
    "failures of another pipeline": Case(
        WEB, "PipelineFailureRate", {}, steps(50, 50, ADVISORY), 60, False
    ),
    "failures of the day before": Case(
        WEB, "PipelineFailureRate", {}, steps(6, 94), 1450, False
    ),
    "four slow steps of a hundred": Case(
        WEB, "PipelineTaskLatency", {}, durations(96, 4), 60, False
    ),
    "six slow steps of a hundred": Case(WEB, "PipelineTaskLatency", {}, durations(94, 6), 60, True),
    "slow steps, not for a quarter of an hour": Case(
        WEB, "PipelineTaskLatency", {}, durations(94, 6), 14, False
    ),
    "available as promised": Case(
        WEB,
        "PipelineAvailability",
        {},
        {f'pipeline_availability_pct{{pipeline="{WEB}"}}': "99.91x5"},
        1,
        False,
    ),
    "available less than promised": Case(
        WEB,
        "PipelineAvailability",
        {},
        {f'pipeline_availability_pct{{pipeline="{WEB}"}}': "99.9x5"},
        1,
        True,
    ),
    "mended in time": Case(
        WEB, "PipelineRecovery", {}, {f'pipeline_recovery_minutes{{pipeline="{WEB}"}}': "29x5"},
        1, False,
    ),
    "mended too late": Case(
        WEB, "PipelineRecovery", {}, {f'pipeline_recovery_minutes{{pipeline="{WEB}"}}': "30x5"},
        1, True,
    ),
    "a check of the last day": Case(WEB, "CheckOverdue", {}, {OBSERVED: "0x1700"}, 1560, False),
    "a check that nobody evaluates": Case(
        WEB, "CheckOverdue", {"check": "error_rate"}, {OBSERVED: "0x1700"}, 1570, True
    ),
    "somebody scrapes": Case(WEB, "MetricsMissing", {}, {OBSERVED: "0x10"}, 6, False),
    "nobody scrapes": Case(WEB, "MetricsMissing", {}, {}, 6, True),
    "a section that is read": Case(
        "operations", "MetricsSectionFailed", {}, {'metrics_section_failed{section="runs"}': "0x9"},
        6, False,
    ),
    "a section that can't be read": Case(
        "operations", "MetricsSectionFailed", {}, {'metrics_section_failed{section="runs"}': "1x9"},
        6, True,
    ),
}  # fmt: skip


@needs_promtool
def test_prometheus_takes_every_rule_file() -> None:
    checked = promtool("check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_an_alert_fires_just_outside_each_limit_with_severity_and_route(tmp_path: Path) -> None:
    cases = [case_of(one, observed(one, one.outside), fires=True) for one in CROSSINGS]
    assert complaints(tmp_path, cases) == ""


@needs_promtool
def test_an_alert_rests_just_inside_each_limit(tmp_path: Path) -> None:
    cases = [case_of(one, observed(one, one.inside), fires=False) for one in CROSSINGS]
    assert complaints(tmp_path, cases) == ""


@needs_promtool
def test_what_is_not_measurable_alerts_nobody(tmp_path: Path) -> None:
    cases = [
        case_of(one, observed(one, one.outside, "not_measurable"), fires=False) for one in CROSSINGS
    ]
    assert complaints(tmp_path, cases) == ""


@needs_promtool
def test_a_worse_band_alerts_instead_of_the_milder_one(tmp_path: Path) -> None:
    critical = {
        (one.pipeline, one.threshold): one for one in CROSSINGS if one.severity == "critical"
    }
    cases = [
        case_of(one, observed(one, critical[one.pipeline, one.threshold].outside), fires=False)
        for one in CROSSINGS
        if one.severity == "warning" and (one.pipeline, one.threshold) in critical
    ]
    assert complaints(tmp_path, cases) == ""


@needs_promtool
@pytest.mark.parametrize("what", OUTSIDE)
def test_what_prometheus_sees_by_itself(what: str, tmp_path: Path) -> None:
    assert complaints(tmp_path, [OUTSIDE[what]]) == ""


@needs_promtool
def test_a_rule_that_does_not_fire_is_noticed(tmp_path: Path) -> None:
    one = CROSSINGS[0]
    said = complaints(tmp_path, [case_of(one, observed(one, one.inside), fires=True)])
    assert "FAILED" in said


def test_every_alert_of_the_rows_has_its_name() -> None:
    names = {rule.alert for one in alertings().values() for rule in outside_rules(one)}
    assert names >= {
        "PipelineDataStale", "PipelineDataCritical", "PipelineFailureRate", "PipelineTaskLatency",
    }  # fmt: skip


def test_every_alert_from_outside_has_a_case_in_which_it_fires() -> None:
    names = {rule.alert for one in alertings().values() for rule in outside_rules(one)}
    assert {case.alert for case in OUTSIDE.values() if case.fires} == names


def test_every_band_of_every_threshold_has_a_rule() -> None:
    rules = {
        (runbook.pipeline, rule.about["check"], rule.severity)
        for runbook in runbooks().values()
        for rule in check_rules(runbook)
    }
    assert rules == {(one.pipeline, one.threshold, one.severity) for one in CROSSINGS}


@OF_EACH_PIPELINE
def test_the_file_is_what_the_runbook_says(pipeline: str) -> None:
    assert (RULES / f"{pipeline}.yml").read_text("utf-8") == rule_file(alertings()[pipeline])


@OF_EACH_PIPELINE
def test_every_alert_leads_to_a_heading_that_exists(pipeline: str) -> None:
    groups = yaml.safe_load(rule_file(alertings()[pipeline]))["groups"]
    pages = {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]}
    broken = [
        page
        for page, _, anchor in (one.partition("#") for one in pages)
        if anchor not in anchors_of((FOLDER.parent / page).read_text("utf-8"))
    ]
    assert broken == []


@OF_EACH_PIPELINE
def test_every_alert_names_a_command(pipeline: str) -> None:
    groups = yaml.safe_load(rule_file(alertings()[pipeline]))["groups"]
    commands = {rule["annotations"]["command"] for group in groups for rule in group["rules"]}
    assert all(command.startswith("pipeline-platform ") for command in commands)
