"""How a pipeline is now: what ran, what failed, what is late, what is queued for a person.

Each row has the command that mends it, from the runbook's routes and thresholds; none is made up.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from pipeline_platform.landing.claimed_file import FOLDERS, Folder
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.latest_checks import OVERDUE, coverage
from pipeline_platform.operations.reports.pages import Row, Section
from pipeline_platform.operations.reports.reviewed import Reviewed, Run
from pipeline_platform.runbook import Runbook
from pipeline_platform.warehouse.period_figures import held_by_rule, waiting_work
from pipeline_platform.warehouse.proposals import list_proposals
from pipeline_platform.warehouse.stops import stop_of

MOST_INCIDENTS = 50
MOST_PROPOSALS = 1000
MOST_RULES = 5
_WAITS: tuple[tuple[Folder, str], ...] = (("incoming", "wait in"), ("processing", "were left in"))


def what_failed(reviewed: Reviewed) -> Section:
    """Return open incidents, and failed checks and runs that are in none of them."""
    with reviewed.services.database.connection() as connection:
        incidents = store.incidents(
            connection, pipeline=reviewed.pipeline, is_open=True, limit=MOST_INCIDENTS
        )
        told = {
            name
            for (pipeline, name), fault in store.faults(connection).items()
            if pipeline == reviewed.pipeline and fault.state != "GREEN"
        }
    rows: list[Row] = [
        {
            "what": f"incident {one.incident_id}: {one.title}",
            "severity": one.severity,
            "since": one.began_at,
            "command": one.remedy.command,
        }
        for one in incidents
    ]
    rows += [
        {
            "what": check["reason"],
            "severity": check["severity"],
            "since": check["observed (UTC)"],
            "command": _command_of_check(reviewed.runbook, check),
        }
        for check in reviewed.checks
        if check["outcome"] == "fail" and _fault_of(reviewed.runbook, check) not in told
    ]
    route = reviewed.runbook.routes[reviewed.runbook.alerts.failed_runs]
    rows += [
        {
            "what": one.why,
            "severity": route.severity,
            "since": one.run.ended_at,
            "command": route.remedy.filled(
                pipeline=reviewed.pipeline, asset=one.subject, run=one.run.run_id
            ).command,
        }
        for one in reviewed.present.failed
        if f"run:{one.subject}" not in told
    ]
    sentence = f"{len(rows)} to mend." if rows else "Nothing."
    return Section("What failed", rows, sentence, kind="failed")


def what_is_late(reviewed: Reviewed) -> Section:
    """Return assets past their freshness, files and partitions that wait, and silent watchers."""
    rows = [*_late_assets(reviewed), *_late_work(reviewed), *_late_checks(reviewed)]
    silent = reviewed.present.silent_daemons
    if silent:
        what = f"Dagster's daemon is silent: {', '.join(silent)}"
        rows.append(_late(what, None, "pipeline-platform daemon"))
    sentence = f"{len(rows)} behind." if rows else "Nothing."
    return Section("What is late", rows, sentence, kind="late")


def what_waits_for_a_person(reviewed: Reviewed) -> Section:
    """Return what only a person can decide: held rows and files, proposals, incidents, stops."""
    pipeline = reviewed.pipeline
    with reviewed.services.database.connection() as connection:
        held = held_by_rule(connection, pipeline)
        proposals = list_proposals(connection, pipeline, MOST_PROPOSALS)
        incidents = store.incidents(
            connection, pipeline=pipeline, is_open=True, limit=MOST_INCIDENTS
        )
        stop = stop_of(connection, pipeline)
    rows = [_held_row(pipeline, kind, held) for kind in ("files", "rows") if _of(kind, held)]
    decide = reviewed.runbook.reports.proposal_command
    pending = [one for one in proposals if one.is_pending]
    rows += [
        {
            "what": f"proposal {one.proposal_id} for {one.table_name}",
            "since": one.created_at,
            "command": decide.format(proposal=one.proposal_id) if decide else None,
        }
        for one in pending
    ]
    rows += [
        {
            "what": f"nobody answered incident {one.incident_id}: {one.title}",
            "since": one.began_at,
            "command": f"pipeline-platform incidents acknowledge {one.incident_id}",
        }
        for one in incidents
        if one.state == "OPEN"
    ]
    if stop is not None:
        scope = f" {pipeline}" if stop.scope == pipeline else ""
        rows.append(
            {
                "what": f"stopped by {stop.stopped_by}: {stop.reason or 'no reason given'}",
                "since": stop.stopped_at,
                "command": f"pipeline-platform pipelines resume{scope}",
            }
        )
    sentence = f"{len(rows)} to decide." if rows else "Nothing."
    return Section("What is queued for a person", rows, sentence, kind="waits")


def what_ran(reviewed: Reviewed) -> Section:
    """Return the runs of the last day by job, what runs now among them (SA-21)."""
    by_job: dict[str, list[Run]] = {}
    for one in reviewed.present.runs:
        by_job.setdefault(one.job, []).append(one)
    rows = [_job_row(job, runs) for job, runs in sorted(by_job.items())]
    going = sum(one.ended_at is None for one in reviewed.present.runs)
    failed = sum(one.status == "FAILURE" for one in reviewed.present.runs)
    sentence = (
        f"{len(reviewed.present.runs)} runs in the last day, {failed} failed, {going} not ended."
    )
    return Section("What ran", rows, sentence, kind="ran")


def all_checks(reviewed: Reviewed) -> Section:
    """Return each threshold of the runbook with value, limit and outcome (SA-12 to SA-16)."""
    measured, count = coverage(reviewed.checks)
    rows = [
        {
            "check": one["check"],
            "outcome": str(one["outcome"]).replace("_", " "),
            "value": one["value"],
            "limit": one["limit"],
            "unit": _unit(reviewed.runbook, one["check"]),
            "partition": one["partition"],
            "observed": one["observed (UTC)"],
        }
        for one in reviewed.checks
    ]
    return Section("Checks", rows, f"{measured} of {count} were measured in time.")


def landing_zone(reviewed: Reviewed) -> Section:
    """Return how much lies in each folder of the landing zone (SA-17, SA-18, SA-40)."""
    zone = reviewed.services.landing(reviewed.pipeline)
    rows = []
    for folder in FOLDERS:
        state = zone.observe(folder)
        rows.append(
            {
                "folder": folder,
                "files": state.object_count,
                "bytes": state.total_bytes,
                "oldest": state.oldest_modified_at,
            }
        )
    return Section("Landing zone", rows, f"{rows[0]['files']} files wait.")


def _late_assets(reviewed: Reviewed) -> Iterator[Row]:
    runbook = reviewed.runbook
    for one in reviewed.present.late:
        if one.severity is None and reviewed.present.silent_daemons:
            continue  # told by the daemon's own row
        severity = one.severity or "warning"
        route = runbook.routes[runbook.alerts.overdue[severity]]
        words = {"critical": "is overdue", "warning": "will soon be overdue"}
        word = words.get(str(one.severity), "was never judged: is the daemon on?")
        remedy = route.remedy.filled(pipeline=runbook.pipeline, asset=one.asset, run="")
        yield _late(f"{one.asset} {word}", one.since, remedy.command)


def _late_work(reviewed: Reviewed) -> Iterator[Row]:
    runbook, pipeline = reviewed.runbook, reviewed.pipeline
    before = reviewed.now - timedelta(minutes=runbook.reports.late_after_minutes)
    for folder, word in _WAITS:
        state = reviewed.services.landing(pipeline).observe(folder)
        oldest = state.oldest_modified_at
        if oldest is not None and oldest < before:
            command = f"pipeline-platform landing ingest --pipeline {pipeline}"
            yield _late(f"{state.object_count} files {word} {folder}/", oldest, command)
    with reviewed.services.database.connection() as connection:
        waiting = waiting_work(connection, pipeline)
    late = [one for one in waiting if one["requested_at"] < before]
    if late:
        route = runbook.routes[runbook.alerts.failed_runs]
        remedy = route.remedy.filled(pipeline=pipeline, asset=pipeline, run="")
        keys = ", ".join(one["partition_key"] for one in late[:3])
        more = f" and {len(late) - 3} more" if len(late) > 3 else ""
        yield _late(f"not computed yet: {keys}{more}", late[0]["requested_at"], remedy.command)


def _late_checks(reviewed: Reviewed) -> Iterator[Row]:
    overdue = [one for one in reviewed.checks if one["outcome"] == OVERDUE]
    if overdue:
        since = [one["observed (UTC)"] for one in overdue if one["observed (UTC)"]]
        names = ", ".join(str(one["check"]) for one in overdue[:3])
        more = f" and {len(overdue) - 3} more" if len(overdue) > 3 else ""
        command = f"pipeline-platform check {reviewed.pipeline}"
        yield _late(f"checks not evaluated: {names}{more}", min(since, default=None), command)


def _of(kind: str, held: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in held if one["kind"] == kind]


def _held_row(pipeline: str, kind: str, held: Sequence[Mapping[str, Any]]) -> Row:
    """Tell how much of one kind quarantine holds, by the rule that refused it."""
    found = sorted(_of(kind, held), key=lambda one: -one["held"])
    rules = ", ".join(f"{one['rule']} {one['held']}" for one in found[:MOST_RULES])
    more = f" and {len(found) - MOST_RULES} rules more" if len(found) > MOST_RULES else ""
    return {
        "what": f"{sum(one['held'] for one in found)} {kind} in quarantine: {rules}{more}",
        "since": min(one["oldest_at"] for one in found),
        "command": f"pipeline-platform quarantine list --pipeline {pipeline} --kind {kind}",
    }


def _late(what: str, since: datetime | None, command: str) -> Row:
    return {"what": what, "since": since, "command": command}


def _job_row(job: str, runs: list[Run]) -> Row:
    last = max(runs, key=lambda one: (one.started_at is not None, one.started_at))
    times = [one.seconds for one in runs if one.seconds is not None]
    return {
        "job": job,
        "runs": len(runs),
        "failed": sum(one.status == "FAILURE" for one in runs),
        "not ended": sum(one.ended_at is None for one in runs),
        "median s": round(median(times), 1) if times else None,
        "last": last.started_at,
        "last status": last.status,
        "partitions": last.partitions,
    }


def _fault_of(runbook: Runbook, check: Mapping[str, object]) -> str:
    """Return what alerts call a failed check, whose observations have its threshold's name."""
    threshold = runbook.thresholds.get(str(check["check"]))
    name = check["check"] if threshold is None else threshold.check
    return f"check:{check['asset']}:{name}"


def _command_of_check(runbook: Runbook, check: Mapping[str, object]) -> str:
    """Return what mends a failed check: its own remedy, else that of the broken band's route."""
    threshold = runbook.thresholds.get(str(check["check"]))
    asset = str(check["asset"] or "")
    if threshold is None:  # it is not in the runbook any more
        return f"pipeline-platform check {runbook.pipeline}"
    broken = next((one for one in threshold.bands if one.severity == check["severity"]), None)
    route = runbook.routes[(broken or threshold.severest_first[-1]).route]
    remedy = threshold.remedy or route.remedy
    return remedy.filled(pipeline=runbook.pipeline, asset=asset, run="RUN").command


def _unit(runbook: Runbook, check: object) -> str | None:
    threshold = runbook.thresholds.get(str(check))
    return None if threshold is None else threshold.unit
