"""Alert rules for Prometheus, generated from a runbook (SP-10 to SP-13, SP-16, XC-1).

Pure: a runbook in, the text of its rule file out. Two groups: `checks` repeats the verdicts of the
runbook's thresholds from what `/metrics` says that they observed, `outside` is what Prometheus sees
by itself, also while Dagster is down: data that get old, steps that fail or take long, checks that
nobody evaluates, promises that are broken. No number stands here that the runbook doesn't have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import yaml

from pipeline_platform.quality.thresholds import Band, Remedy, Severity, Threshold, metric_name
from pipeline_platform.runbook import Alerting, Runbook, StepLimit
from pipeline_platform.runbook_page import CHECKS_PAGE, OPERATING_PAGE, wanted

STALE = f"{OPERATING_PAGE}#data-freshness-issues"
FAILURES = f"{OPERATING_PAGE}#pipeline-failures"
PERFORMANCE = f"{OPERATING_PAGE}#performance-issues"
GAPS = f"{OPERATING_PAGE}#monitoring-gaps"
SLOW_SHARE = 0.95
"""SP-8 speaks of the 95th percentile."""
_GAP_ROWS = ("SP-16", "B-14")
PROMISES = ("availability", "mean_time_to_recovery", "task_latency")
"""Thresholds that Prometheus sees by itself, also while nobody evaluates their checks."""
_SETTLED_MINUTES = 5
"""Prometheus scrapes every minute or so: what is missing for less is no gap."""


@dataclass(frozen=True)
class Rule:
    """One alert: PromQL that yields a series for each thing that is broken, and whom it is for.

    `place` is where its limit stands in the runbook and `requirements` are the rows that want it.
    `about` are labels of its own, `remedy` stands in for the one of its route.
    """

    alert: str
    expression: str
    severity: Severity
    route: str
    response_minutes: int
    summary: str
    page: str
    place: str
    requirements: Sequence[str]
    for_minutes: int = 0
    about: Mapping[str, str] = field(default_factory=dict)
    remedy: Remedy | None = None


def check_rules(runbook: Runbook) -> list[Rule]:
    """Return a rule for each band of each threshold: it fires when the check fails with it.

    What is promised of a month, and steps, have rules of their own.
    """
    return [
        Rule(
            alert=metric_name(threshold.name),
            expression=_broken(runbook.pipeline, threshold, band),
            severity=band.severity,
            route=band.route,
            response_minutes=band.response_minutes,
            summary=f"{threshold.title}: must be {wanted(band, threshold)}",
            page=CHECKS_PAGE,
            place=f"thresholds.{threshold.name}",
            requirements=threshold.requirements,
            about={"check": threshold.name},
            remedy=threshold.remedy,
        )
        for threshold in runbook.thresholds.values()
        if threshold.name not in PROMISES
        for band in threshold.severest_first
    ]


def outside_rules(alerting: Alerting) -> list[Rule]:
    """Return the rules about what no check can tell, because it may be what does not run."""
    found = [*_of_steps(alerting), *_of_service_level(alerting)]
    if isinstance(alerting, Runbook):
        found = [*_of_freshness(alerting), *found, *_of_gaps(alerting)]
    else:
        found.append(_unread_section(alerting))
    return found


def rule_file(alerting: Alerting) -> str:
    """Return the rules as Prometheus reads them, YAML that changes only with the runbook."""
    groups = [("outside", outside_rules(alerting))]
    if isinstance(alerting, Runbook):
        groups.insert(0, ("checks", check_rules(alerting)))
    content = {
        "groups": [
            {
                "name": f"{alerting.pipeline}_{name}",
                "rules": [_as_yaml(rule, alerting, name) for rule in rules],
            }
            for name, rules in groups
        ]
    }
    head = f"# Generated from the runbook of {alerting.pipeline}; change that instead.\n"
    return head + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _broken(pipeline: str, threshold: Threshold, band: Band) -> str:
    """Say in PromQL what a check's verdict is: the severest broken band, unless not measurable."""
    of_check = {"pipeline": pipeline, "check": threshold.name}
    value = _series("pipeline_check_value", **of_check)
    terms = [_outside(value, threshold, band)]
    for severer in threshold.severest_first:
        if severer == band:
            break
        terms.append(f"unless {_outside(value, threshold, severer)}")
    unmeasured = _series("pipeline_check_outcome", **of_check, outcome="not_measurable")
    return " ".join([*terms, f"unless on (pipeline, check, asset) {unmeasured} == 1"])


def _outside(value: str, threshold: Threshold, band: Band) -> str:
    below, above = ("<", ">") if band.is_inclusive else ("<=", ">=")
    limit = _number(band.limit)
    if threshold.direction == "at_least":
        return f"{value} {below} {limit}"
    if threshold.direction == "at_most":
        return f"{value} {above} {limit}"
    upper = _number(band.upper)
    return f"({value} {below} {limit} or {value} {above} {upper})"


def _of_freshness(runbook: Runbook) -> Iterator[Rule]:
    for asset, freshness in runbook.freshness.items():
        of_asset = {"pipeline": runbook.pipeline, "asset": asset}
        age = _series("pipeline_freshness_seconds", **of_asset)
        if freshness.fail_minutes is None:
            missed = f"{_series('pipeline_deadline_missed', **of_asset)} == 1"
            what = f"{asset} has missed its deadline"
            yield _stale(runbook, asset, "PipelineDataCritical", missed, what, "critical")
            continue
        fail = f"{age} > {60 * freshness.fail_minutes}"
        what = f"{asset} is older than {freshness.fail_minutes} minutes"
        yield _stale(runbook, asset, "PipelineDataCritical", fail, what, "critical")
        if freshness.warn_minutes is not None:
            warn = f"{age} > {60 * freshness.warn_minutes} unless {fail}"
            what = f"{asset} is older than {freshness.warn_minutes} minutes"
            yield _stale(runbook, asset, "PipelineDataStale", warn, what, "warning")


def _stale(
    runbook: Runbook, asset: str, alert: str, expression: str, what: str, severity: Severity
) -> Rule:
    lasting = runbook.alerts.prometheus.stale_for_minutes if severity == "warning" else 0
    rows = [*runbook.freshness[asset].requirements, "SP-10" if severity == "warning" else "SP-11"]
    rule = _of_run(
        runbook, alert, expression, what, STALE, f"freshness.{asset}", rows, severity, lasting
    )
    return replace(rule, about={"asset": asset})


def _of_steps(alerting: Alerting) -> Iterator[Rule]:
    """Yield the rules on steps of runs; both sides of a division lack the status (D-13)."""
    failed, slow = alerting.alerts.prometheus.failed_steps, alerting.alerts.prometheus.slow_steps
    name = "potato_pipeline_tasks_total"
    broken = _increase(_series(name, pipeline=alerting.pipeline, status="failure"), failed)
    ended = _increase(_series(name, pipeline=alerting.pipeline), failed)
    yield _of_run(
        alerting,
        "PipelineFailureRate",
        f"100 * {broken} / {ended} > {_number(failed.limit)}"
        f" and {ended} >= {failed.minimum_sample}",
        f"more than {failed.limit:g} % of the steps of {failed.window_minutes} minutes failed",
        FAILURES,
        "alerts.prometheus.failed_steps",
        failed.requirements,
        for_minutes=failed.for_minutes,
    )
    buckets = _series("potato_pipeline_task_duration_seconds_bucket", pipeline=alerting.pipeline)
    ended = _increase(_series(name, pipeline=alerting.pipeline), slow)
    longest = f"histogram_quantile({SLOW_SHARE}, increase({buckets}[{slow.window_minutes}m]))"
    yield _of_run(
        alerting,
        "PipelineTaskLatency",
        f"{longest} > {_number(slow.limit)} and {ended} >= {slow.minimum_sample}",
        f"5 % of the steps of {slow.window_minutes} minutes took more than {slow.limit:g} s",
        PERFORMANCE,
        "alerts.prometheus.slow_steps",
        slow.requirements,
        for_minutes=slow.for_minutes,
    )


def _increase(series: str, limit: StepLimit) -> str:
    return f"sum without (status) (increase({series}[{limit.window_minutes}m]))"


def _of_service_level(alerting: Alerting) -> Iterator[Rule]:
    level = alerting.alerts.service_level
    availability = _series("pipeline_availability_pct", pipeline=alerting.pipeline)
    yield _of_run(
        alerting,
        "PipelineAvailability",
        f"{availability} <= {_number(level.availability_pct)}",
        f"available less than {level.availability_pct:g} % of this month",
        FAILURES,
        "alerts.service_level.availability_pct",
        ["SA-88"],
    )
    recovery = _series("pipeline_recovery_minutes", pipeline=alerting.pipeline)
    yield _of_run(
        alerting,
        "PipelineRecovery",
        f"{recovery} >= {level.recovery_minutes}",
        f"incidents of this month took {level.recovery_minutes} minutes or more to mend",
        FAILURES,
        "alerts.service_level.recovery_minutes",
        ["SA-81"],
    )


def _of_gaps(runbook: Runbook) -> Iterator[Rule]:
    at = _series("pipeline_check_observed_timestamp", pipeline=runbook.pipeline)
    minutes = runbook.rulings.checks_expected_every_minutes
    blocking = "|".join(one.name for one in runbook.blocking_thresholds)
    by_themselves = f'{at[:-1]},check!~"{blocking}"}}' if blocking else at
    yield _of_run(
        runbook,
        "CheckOverdue",
        f"time() - {by_themselves} > {60 * minutes}",
        f"a check was not evaluated for more than {minutes} minutes",
        GAPS,
        "rulings.checks_expected_every_minutes",
        _GAP_ROWS,
        for_minutes=_SETTLED_MINUTES,
    )
    yield _of_run(
        runbook,
        "MetricsMissing",
        f"absent({at})",
        "nothing is told of its checks: the HTTP service is down, or nobody scrapes it",
        GAPS,
        "metrics",
        _GAP_ROWS,
        for_minutes=_SETTLED_MINUTES,
    )


def _unread_section(alerting: Alerting) -> Rule:
    return _of_run(
        alerting,
        "MetricsSectionFailed",
        f"{_series('metrics_section_failed')} == 1",
        "a section of the metrics can't be read",
        GAPS,
        "metrics",
        _GAP_ROWS,
        for_minutes=_SETTLED_MINUTES,
    )


def _of_run(
    alerting: Alerting,
    alert: str,
    expression: str,
    summary: str,
    page: str,
    place: str,
    requirements: Sequence[str],
    severity: Severity = "warning",
    for_minutes: int = 0,
) -> Rule:
    """Return a rule that goes where the runbook sends what is late."""
    route = alerting.alerts.overdue[severity]
    minutes = alerting.response_minutes(route)
    return Rule(
        alert, expression, severity, route, minutes, summary, page, place, requirements, for_minutes
    )


def _as_yaml(rule: Rule, alerting: Alerting, group: str) -> dict[str, object]:
    labels = {
        "pipeline": alerting.pipeline,
        "severity": rule.severity,
        "route": rule.route,
        "owner": alerting.contacts[alerting.routes[rule.route].ladder[0]].title,
        "response_minutes": str(rule.response_minutes),
        "group": group,
        **rule.about,
    }
    route = alerting.routes[rule.route]
    asset = rule.about.get("asset", "ASSET")
    remedy = (rule.remedy or route.remedy).filled(
        pipeline=alerting.pipeline, asset=asset, run="RUN"
    )
    return {
        "alert": rule.alert,
        "expr": rule.expression,
        **({"for": f"{rule.for_minutes}m"} if rule.for_minutes else {}),
        "labels": labels,
        "annotations": {
            "summary": f"{alerting.pipeline}: {rule.summary}",
            "description": "It is {{ $value | humanize }}.",
            "runbook_url": rule.page,
            "command": remedy.command,
        },
    }


def _series(name: str, **labels: str) -> str:
    given = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{given}}}" if given else name


def _number(value: float) -> str:
    return f"{value:.12g}"
