"""CloudWatch alarms and a dashboard, generated from a runbook (SA-6, SA-10, XC-1).

Pure: a runbook in, a CloudFormation template out. `cloudwatch apply` makes the same resources
without CloudFormation, `cloudwatch publish` sends the figures that they watch.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline_platform.quality.thresholds import Band, Severity, Threshold, metric_name
from pipeline_platform.runbook import Runbook
from pipeline_platform.runbook_page import duration, wanted

GENERATED = "Generated from the runbook of"
"""Alarms whose description begins so are ours: those that no runbook names any more are removed."""
HEARTBEAT = "ChecksEvaluated"
"""How many checks have a latest outcome; nothing of it for a while is a monitoring gap (SP-16)."""
PERIOD_SECONDS = 300
_SILENT_PERIODS = 3
_COLORS: Mapping[Severity, str] = {"critical": "#d62728", "warning": "#ff7f0e", "info": "#1f77b4"}
WIDTH, HEIGHT, GRID = 8, 6, 24


def alarms(runbook: Runbook) -> list[dict[str, Any]]:
    """Return an alarm for each limit of each band, as `put_metric_alarm` takes them."""
    found = [_silence(runbook)]
    for threshold in runbook.thresholds.values():
        for band in threshold.severest_first:
            found += [
                _alarm(runbook, threshold, band, limit, suffix, operator)
                for limit, suffix, operator in _limits(threshold, band)
            ]
    return found


def dashboard_body(runbook: Runbook, region: str) -> dict[str, Any]:
    """Return the dashboard: a graph of each threshold with its limits, and of each series."""
    graphs = [
        _graph(one.title, metric_name(one.name), runbook, region, _statistic(one), _lines(one))
        for one in runbook.thresholds.values()
    ]
    graphs += [
        _graph(series, name, runbook, region, "Sum", [])
        for name, series in runbook.cloudwatch.series.items()
    ]
    for number, graph in enumerate(graphs):
        per_row = GRID // WIDTH
        graph |= {
            "x": WIDTH * (number % per_row), "y": HEIGHT * (number // per_row),
            "width": WIDTH, "height": HEIGHT,
        }  # fmt: skip
    return {"start": "-P7D", "widgets": graphs}


def template(runbook: Runbook) -> str:
    """Return the CloudFormation template, JSON text that changes only with the runbook."""
    resources: dict[str, Any] = {
        _logical(alarm["AlarmName"]): {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                **alarm,
                "AlarmActions": {
                    "Fn::If": ["HasTopic", [{"Ref": "AlertTopic"}], {"Ref": "AWS::NoValue"}]
                },
            },
        }
        for alarm in alarms(runbook)
    }
    body = json.dumps(dashboard_body(runbook, "${AWS::Region}"), ensure_ascii=False)
    resources["Dashboard"] = {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            "DashboardName": runbook.cloudwatch.dashboard,
            "DashboardBody": {"Fn::Sub": body},
        },
    }
    content = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"{GENERATED} {runbook.pipeline}; change that instead.",
        "Parameters": {
            "AlertTopic": {
                "Type": "String",
                "Default": "",
                "Description": "ARN of the SNS topic that is told; empty = nobody.",
            }
        },
        "Conditions": {"HasTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlertTopic"}, ""]}]}},
        "Resources": resources,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _limits(threshold: Threshold, band: Band) -> list[tuple[float, str, str]]:
    """Return limit, ending of the alarm's name and operator of each end of a band."""
    orelse = "" if band.is_inclusive else "OrEqualTo"
    below, above = f"LessThan{orelse}Threshold", f"GreaterThan{orelse}Threshold"
    if threshold.direction == "at_least":
        return [(band.limit, "", below)]
    if threshold.direction == "at_most":
        return [(band.limit, "", above)]
    return [(band.limit, "-low", below), (band.upper, "-high", above)]


def _alarm(
    runbook: Runbook, threshold: Threshold, band: Band, limit: float, suffix: str, operator: str
) -> dict[str, Any]:
    route = runbook.routes[band.route]
    person = runbook.contacts[route.ladder[0]].title
    remedy = (threshold.remedy or route.remedy).filled(
        pipeline=runbook.pipeline, asset=threshold.asset, run="RUN"
    )
    return {
        "AlarmName": f"{runbook.pipeline}-{threshold.name}-{band.severity}{suffix}",
        "AlarmDescription": (
            f"{GENERATED} {runbook.pipeline}. {threshold.title} must be {wanted(band, threshold)}. "
            f"{person} answers {duration(band.response_minutes)}: {remedy.command}"
        ),
        "Namespace": runbook.cloudwatch.namespace,
        "MetricName": metric_name(threshold.name),
        "Statistic": _statistic(threshold, suffix),
        "Period": PERIOD_SECONDS,
        "EvaluationPeriods": 1,
        "Threshold": limit,
        "ComparisonOperator": operator,
        "TreatMissingData": "missing",
    }


def _silence(runbook: Runbook) -> dict[str, Any]:
    """Return the alarm on figures that don't come any more."""
    minutes = PERIOD_SECONDS * _SILENT_PERIODS // 60
    return {
        "AlarmName": f"{runbook.pipeline}-metrics-missing",
        "AlarmDescription": (
            f"{GENERATED} {runbook.pipeline}. No figures came for {minutes} minutes: look at the "
            "job operations_cloudwatch_figures."
        ),
        "Namespace": runbook.cloudwatch.namespace,
        "MetricName": HEARTBEAT,
        "Statistic": "SampleCount",
        "Period": PERIOD_SECONDS,
        "EvaluationPeriods": _SILENT_PERIODS,
        "Threshold": 1.0,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
    }


def _statistic(threshold: Threshold, suffix: str = "") -> str:
    return "Minimum" if threshold.direction == "at_least" or suffix == "-low" else "Maximum"


def _lines(threshold: Threshold) -> list[dict[str, Any]]:
    return [
        {"label": band.severity, "value": limit, "color": _COLORS[band.severity]}
        for band in threshold.severest_first
        for limit, _, _ in _limits(threshold, band)
    ]


def _graph(
    title: str,
    metric: str,
    runbook: Runbook,
    region: str,
    statistic: str,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "title": title,
        "region": region,
        "view": "timeSeries",
        "stat": statistic,
        "period": PERIOD_SECONDS if lines else 86_400,
        "metrics": [[runbook.cloudwatch.namespace, metric]],
    }
    if lines:
        properties["annotations"] = {"horizontal": lines}
    return {"type": "metric", "properties": properties}


def _logical(name: str) -> str:
    return "".join(word.capitalize() for word in name.replace("_", "-").split("-"))
