"""CloudWatch: make the alarms and dashboards of the runbooks, and send the figures (SA-6, SA-10).

Off unless PLATFORM_CLOUDWATCH_REGION names a region. The endpoint is AWS's unless
AWS_ENDPOINT_URL_CLOUDWATCH or AWS_ENDPOINT_URL says otherwise. Whatever is sent or made here raises
InvalidSettingError where it is off or refused, UnavailableError where nothing answers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.operations.aws import aws_failures, client
from pipeline_platform.operations.cloudwatch_template import (
    GENERATED,
    HEARTBEAT,
    alarms,
    dashboard_body,
)
from pipeline_platform.operations.latest_checks import OVERDUE, latest_checks
from pipeline_platform.partition_ranges import ONE_DAY
from pipeline_platform.quality.thresholds import metric_name
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

DATA_OF_A_REQUEST = 1000
DAYS_TAKEN = 13
"""CloudWatch takes figures of the last two weeks."""
Action = Literal["create", "change", "remove", "keep"]


@dataclass(frozen=True)
class Change:
    """What becomes of one alarm or dashboard."""

    kind: Literal["alarm", "dashboard"]
    name: str
    action: Action


def changes(settings: Settings, runbook: Runbook, topic: str | None) -> list[Change]:
    """Compare what the runbook says with what is there; change nothing."""
    wanted = _wanted_alarms(runbook, topic)
    with _asked(settings) as (asked, region):
        present = {alarm["AlarmName"]: alarm for alarm in _present_alarms(asked, runbook)}
        shown = _present_dashboard(asked, runbook)
    found = [
        Change("alarm", name, _action(alarm, present.get(name))) for name, alarm in wanted.items()
    ]
    found += [
        Change("alarm", name, "remove")
        for name, alarm in present.items()
        if name not in wanted and alarm.get("AlarmDescription", "").startswith(GENERATED)
    ]
    body = dashboard_body(runbook, region)
    action: Action = "create" if shown is None else "keep" if shown == body else "change"
    return [*found, Change("dashboard", runbook.cloudwatch.dashboard, action)]


def apply(settings: Settings, runbook: Runbook, topic: str | None) -> list[Change]:
    """Make what the runbook says; doing it again changes nothing. Alarms of others stay."""
    found = changes(settings, runbook, topic)
    wanted = _wanted_alarms(runbook, topic)
    with _asked(settings) as (asked, region):
        for change in found:
            if change.kind == "dashboard" and change.action != "keep":
                body = json.dumps(dashboard_body(runbook, region), ensure_ascii=False)
                asked.put_dashboard(DashboardName=change.name, DashboardBody=body)
            elif change.action == "remove":
                asked.delete_alarms(AlarmNames=[change.name])
            elif change.kind == "alarm" and change.action != "keep":
                asked.put_metric_alarm(**wanted[change.name])
    return found


def publish_checks(services: Services, runbook: Runbook, now: datetime) -> int:
    """Send what each check observed last; return how many figures were sent.

    What is not measurable or overdue is not sent: its alarm then lacks data, and is not green.
    """
    with services.database.connection() as connection:
        rows = [
            row
            for row in latest_checks(connection, runbook, now)
            if row["check"] in runbook.thresholds and row["outcome"] != OVERDUE
        ]
    data = [
        _datum(metric_name(row["check"]), row["value"], now)
        for row in rows
        if row["outcome"] != "not_measurable" and row["value"] is not None
    ]
    data.append(_datum(HEARTBEAT, len(rows), now))
    _send(services.settings, runbook, data)
    return len(data)


def publish_days(services: Services, runbook: Runbook, today: date) -> int:
    """Send the rows of each closed day of the last two weeks, so that their sum is right (SW-65).

    What was sent of a day before is asked for and only the difference is sent: late rows are
    added, and sending again changes nothing. Returns how many days were sent.
    """
    data = []
    for name, series in runbook.cloudwatch.series.items():
        sent = _sums(services.settings, runbook, name, today)
        for day, rows in _rows_by_day(services, series, today).items():
            difference = rows - sent.get(day, 0.0)
            if difference:
                data.append(_datum(name, difference, datetime.combine(day, time(12), UTC)))
    if data:
        _send(services.settings, runbook, data)
    return len(data)


@contextmanager
def _asked(settings: Settings) -> Iterator[tuple[Any, str]]:
    """Give a client and its region."""
    region = settings.cloudwatch_region
    if region is None:
        raise InvalidSettingError(
            "CloudWatch is not configured; set PLATFORM_CLOUDWATCH_REGION to a region of AWS."
        )
    with aws_failures("CloudWatch", "check the credentials and the permissions of cloudwatch:*"):
        yield client("cloudwatch", region), region


def _wanted_alarms(runbook: Runbook, topic: str | None) -> dict[str, dict[str, Any]]:
    actions = [topic] if topic else []
    return {alarm["AlarmName"]: {**alarm, "AlarmActions": actions} for alarm in alarms(runbook)}


def _action(wanted: Mapping[str, Any], present: Mapping[str, Any] | None) -> Action:
    if present is None:
        return "create"
    return "keep" if all(present.get(key) == value for key, value in wanted.items()) else "change"


def _present_alarms(asked: Any, runbook: Runbook) -> Iterator[Mapping[str, Any]]:
    pages = asked.get_paginator("describe_alarms")
    for page in pages.paginate(AlarmNamePrefix=f"{runbook.pipeline}-"):
        yield from page["MetricAlarms"]


def _present_dashboard(asked: Any, runbook: Runbook) -> object:
    name = runbook.cloudwatch.dashboard
    found = asked.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
    if name not in {one["DashboardName"] for one in found}:
        return None
    return json.loads(asked.get_dashboard(DashboardName=name)["DashboardBody"])


def _rows_by_day(services: Services, series: str, today: date) -> dict[date, float]:
    pipeline, layer, noun, _ = series.split("/")
    counts = services.lake.row_counts((f"{pipeline}_{layer}", noun))
    first = today - DAYS_TAKEN * ONE_DAY
    return {
        day: float(rows)
        for day, rows in counts.items()
        if isinstance(day, date) and first <= day < today
    }


def _sums(settings: Settings, runbook: Runbook, name: str, today: date) -> dict[date, float]:
    with _asked(settings) as (asked, _):
        found = asked.get_metric_statistics(
            Namespace=runbook.cloudwatch.namespace,
            MetricName=name,
            StartTime=datetime.combine(today - DAYS_TAKEN * ONE_DAY, time(), UTC),
            EndTime=datetime.combine(today, time(), UTC),
            Period=86_400,
            Statistics=["Sum"],
        )["Datapoints"]
    return {one["Timestamp"].astimezone(UTC).date(): one["Sum"] for one in found}


def _datum(name: str, value: float, at: datetime) -> dict[str, Any]:
    return {"MetricName": name, "Value": float(value), "Timestamp": at, "Unit": "None"}


def _send(settings: Settings, runbook: Runbook, data: Sequence[Mapping[str, Any]]) -> None:
    with _asked(settings) as (asked, _):
        for start in range(0, len(data), DATA_OF_A_REQUEST):
            asked.put_metric_data(
                Namespace=runbook.cloudwatch.namespace,
                MetricData=list(data[start : start + DATA_OF_A_REQUEST]),
            )
