"""Whether Dagster itself is at work: its daemon lives, and its runs come to an end.

Looks at the present: what is fine again is found fine by the next look.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipeline_platform.operations.faults import Finding
from pipeline_platform.orchestration.daemons import SILENT_SECONDS, heartbeats
from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.runbook import Alerting

_AT_WORK = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def daemon_findings(
    instance: dg.DagsterInstance, alertings: Mapping[str, Alerting], now: datetime
) -> list[Finding]:
    """Say of each runbook that names a route for it whether the daemon lives.

    Nothing is said where no daemon was ever started: then nothing is expected of one.
    """
    ages = {one.daemon: one.age_seconds(now) for one in heartbeats(instance)}
    known = {name: age for name, age in ages.items() if age is not None}
    silent = {name: age for name, age in known.items() if age > SILENT_SECONDS}
    oldest = max(known.values(), default=0.0)
    told = ", ".join(f"{name} for {age:.0f} s" for name, age in silent.items())
    return [
        Finding(
            pipeline=name,
            name="daemon",
            kind="overdue",
            subject="daemon",
            is_fine=not silent,
            at=now - timedelta(seconds=oldest) if silent else now,
            severity=route.severity,
            route=alerting.alerts.daemon,
            response_minutes=alerting.response_minutes(alerting.alerts.daemon),
            sentence=f"Dagster's daemon is silent: {told}. Nothing is started or watched.",
            remedy=route.remedy.filled(pipeline=name, asset="daemon", run=""),
        )
        for name, alerting in alertings.items()
        if known and alerting.alerts.daemon is not None
        for route in (alerting.routes[alerting.alerts.daemon],)
    ]


def stuck_run_findings(
    instance: dg.DagsterInstance, alertings: Mapping[str, Alerting], now: datetime
) -> list[Finding]:
    """Say of each pipeline whether a run of it has not ended for longer than its runbook allows."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_AT_WORK))
    findings = []
    for name, alerting in alertings.items():
        limit = alerting.alerts.stuck_runs
        route = alerting.routes[limit.route]
        started = {
            one.dagster_run.run_id: (one.dagster_run.job_name, _started(one))
            for one in records
            if belongs(one.dagster_run, name)
        }
        longest = timedelta(minutes=limit.after_minutes)
        stuck = sorted(
            (since, run_id, job)
            for run_id, (job, since) in started.items()
            if now - since > longest
        )
        since, run_id, job = stuck[0] if stuck else (now, "", "")
        minutes = (now - since).total_seconds() / 60
        more = f" {len(stuck) - 1} more are stuck, too." if len(stuck) > 1 else ""
        findings.append(
            Finding(
                pipeline=name,
                name="stuck_runs",
                kind="overdue",
                subject=job,
                is_fine=not stuck,
                at=since,
                run_id=run_id or None,
                severity=route.severity,
                route=limit.route,
                response_minutes=alerting.response_minutes(limit.route),
                sentence=(
                    f"The run {run_id} of {job} has not ended for {minutes:.0f} minutes, but must "
                    f"within {limit.after_minutes}.{more}"
                ),
                remedy=limit.remedy.filled(pipeline=name, asset=job, run=run_id),
            )
        )
    return findings


def _started(record: dg.RunRecord) -> datetime:
    """Return when a run began; one that never did, when it was requested."""
    if record.start_time is None:
        return record.create_timestamp.astimezone(UTC)
    return datetime.fromtimestamp(record.start_time, UTC)
