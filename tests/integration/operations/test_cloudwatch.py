"""Alarms, dashboards and figures in CloudWatch, on a local server (moto) over real HTTP."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import boto3
import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.operations import cloudwatch
from pipeline_platform.operations.cloudwatch_template import HEARTBEAT, alarms
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.measurements import Measurement, judge, unmeasured
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.services import Services
from tests.assets.platform_runs import settings_at
from tests.integration.landing.local_s3 import REGION, running_server
from tests.integration.web_events.event_files import (
    deliver,
    events,
    ingest,
    refine_requested,
    run_of,
)

WHOLE = runbooks()["web_events"]
SOME = ("error_rate", "query_time", "stream_silence", "rows_of_today")
RUNBOOK = WHOLE.model_copy(update={"thresholds": {one: WHOLE.thresholds[one] for one in SOME}})
NOW = datetime.now(UTC)
YESTERDAY = NOW.date() - timedelta(days=1)
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("cloudwatch")) as found:
        yield found


@pytest.fixture
def asked(address, monkeypatch):
    """CloudWatch as a client sees it, empty."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", address)
    found = boto3.client("cloudwatch", endpoint_url=address, region_name=REGION)
    names = [one["AlarmName"] for one in found.describe_alarms()["MetricAlarms"]]
    if names:
        found.delete_alarms(AlarmNames=names)
    shown = [one["DashboardName"] for one in found.list_dashboards()["DashboardEntries"]]
    if shown:
        found.delete_dashboards(DashboardNames=shown)
    return found


@pytest.fixture(scope="module")
def opened(new_database, tmp_path_factory) -> Iterator[Services]:
    settings = settings_at(tmp_path_factory.mktemp("figures"), new_database())
    with Services(settings.model_copy(update={"cloudwatch_region": REGION})) as found:
        yield found


@pytest.fixture
def settings(opened):
    return opened.settings


def names(asked) -> set[str]:
    return {one["AlarmName"] for one in asked.describe_alarms()["MetricAlarms"]}


def test_a_dry_run_says_everything_and_changes_nothing(asked, settings) -> None:
    found = cloudwatch.changes(settings, RUNBOOK, None)
    assert {one.action for one in found} == {"create"}
    assert (len(found), names(asked)) == (len(alarms(RUNBOOK)) + 1, set())


def test_every_limit_becomes_an_alarm_that_tells_the_topic(asked, settings) -> None:
    cloudwatch.apply(settings, RUNBOOK, TOPIC)
    made = asked.describe_alarms()["MetricAlarms"]
    assert {one["AlarmName"] for one in made} == {one["AlarmName"] for one in alarms(RUNBOOK)}
    assert {tuple(one["AlarmActions"]) for one in made} == {(TOPIC,)}


def test_the_dashboard_is_there(asked, settings) -> None:
    cloudwatch.apply(settings, RUNBOOK, None)
    body = asked.get_dashboard(DashboardName="web-events-dashboard")["DashboardBody"]
    assert json.loads(body)["widgets"][0]["properties"]["region"] == REGION


def test_doing_it_again_changes_nothing(asked, settings) -> None:
    cloudwatch.apply(settings, RUNBOOK, TOPIC)
    assert {one.action for one in cloudwatch.apply(settings, RUNBOOK, TOPIC)} == {"keep"}


def test_a_changed_limit_changes_its_alarm_alone(asked, settings) -> None:
    cloudwatch.apply(settings, RUNBOOK, None)
    rate = RUNBOOK.thresholds["error_rate"]
    band = rate.bands[0].model_copy(update={"limit": 7})
    thresholds = {**RUNBOOK.thresholds, "error_rate": rate.model_copy(update={"bands": [band]})}
    changed = RUNBOOK.model_copy(update={"thresholds": thresholds})
    found = cloudwatch.apply(settings, changed, None)
    assert [(one.name, one.action) for one in found if one.action != "keep"] == [
        ("web_events-error_rate-critical", "change"),
        ("web-events-dashboard", "change"),
    ]


def test_an_alarm_that_no_runbook_has_any_more_is_removed_and_those_of_others_stay(
    asked, settings
) -> None:
    cloudwatch.apply(settings, RUNBOOK, None)
    (other,) = [one for one in alarms(RUNBOOK) if one["AlarmName"].endswith("metrics-missing")]
    asked.put_metric_alarm(**{**other, "AlarmName": "web_events-old-warning"})
    asked.put_metric_alarm(
        **{**other, "AlarmName": "web_events-mine", "AlarmDescription": "made by hand"}
    )
    found = cloudwatch.apply(settings, RUNBOOK, None)
    assert [one.name for one in found if one.action == "remove"] == ["web_events-old-warning"]
    assert names(asked) >= {"web_events-mine"}


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_the_command_says_what_it_would_do_or_did(asked, options) -> None:
    said = CliRunner().invoke(
        app,
        ["cloudwatch", "apply", "--pipeline", "web_events", "--json", *options],
        env={"PLATFORM_CLOUDWATCH_REGION": REGION},
    )
    assert {row["do"] for row in json.loads(said.stdout)} == {"create"}


def latest(asked, name: str) -> list[float]:
    found = asked.get_metric_statistics(
        Namespace=RUNBOOK.cloudwatch.namespace,
        MetricName=name,
        StartTime=NOW - timedelta(hours=1),
        EndTime=NOW + timedelta(hours=1),
        Period=3600,
        Statistics=["Maximum"],
    )
    return [one["Maximum"] for one in found["Datapoints"]]


def observe(services: Services, name: str, value: float | None, ago: timedelta) -> None:
    found = unmeasured(name, "no access") if value is None else Measurement(name, value)
    with services.database.transaction() as connection:
        verdict = judge(found, RUNBOOK.thresholds[name])
        record_verdict(connection, RUNBOOK.pipeline, verdict, now=NOW - ago)


def test_figures_of_checks_are_sent_and_nothing_for_what_is_not_known(asked, opened) -> None:
    observe(opened, "query_time", 12.5, timedelta(minutes=1))
    observe(opened, "stream_silence", None, timedelta(minutes=1))
    observe(opened, "rows_of_today", 7, timedelta(days=2))
    cloudwatch.publish_checks(opened, RUNBOOK, NOW)
    assert {name: latest(asked, name) for name in (
        "QueryTime", "StreamSilence", "RowsOfToday", HEARTBEAT)} == {
        "QueryTime": [12.5], "StreamSilence": [], "RowsOfToday": [], HEARTBEAT: [2.0],
    }  # fmt: skip


def events_per_day(asked, day: date) -> float:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    (found,) = asked.get_metric_statistics(
        Namespace="Custom/WebEvents",
        MetricName="EventsPerDay",
        StartTime=start,
        EndTime=start + timedelta(days=1),
        Period=86_400,
        Statistics=["Sum"],
    )["Datapoints"]
    return found["Sum"]


def test_events_of_a_day_are_their_sum_however_often_they_are_sent(asked, opened) -> None:
    noon = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)
    for number, count in enumerate((5, 3)):
        content = events(count, noon, prefix=f"{number}-")
        deliver(opened, f"events_{number}.ndjson", content, arrived_at=NOW - timedelta(minutes=1))
        run = run_of(opened, f"run {number}", now=NOW)
        ingest(run)
        refine_requested(run)
        for _ in range(2):
            cloudwatch.publish_days(opened, RUNBOOK, NOW.date())
    assert events_per_day(asked, YESTERDAY) == 8


def test_without_a_region_nothing_is_asked(opened) -> None:
    off = opened.settings.model_copy(update={"cloudwatch_region": None})
    with pytest.raises(InvalidSettingError, match="PLATFORM_CLOUDWATCH_REGION"):
        cloudwatch.changes(off, RUNBOOK, None)


def test_a_server_that_is_not_there_is_said(opened, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(UnavailableError, match="CloudWatch can't be reached"):
        cloudwatch.changes(opened.settings, RUNBOOK, None)
