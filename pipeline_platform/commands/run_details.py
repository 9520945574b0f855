"""`pipeline-platform run show`: everything that is known of one run (SA-52, SW-13, SW-23)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.lake_tables import all_tables
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import FailureKind, NotFoundError
from pipeline_platform.lake.lineage import Commit, commits_by
from pipeline_platform.orchestration.downstream import downstream
from pipeline_platform.orchestration.history import covered_partitions, outcome_of, pipelines
from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.orchestration.run_failures import kind_of, read_errors
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse.run_records import RunError
from pipeline_platform.warehouse.run_traces import files_of_run, issues_of_run, refusals_of_run

app = typer.Typer(help="One run: what it did, what it published, why it failed.")
Row = Mapping[str, object]
NEXT: Mapping[FailureKind, str] = {
    "transient": "the cause may have passed: start it again; `doctor` says whether it has",
    "data": "mend or take back what the message names, then start it again",
    "permanent": "change what the message names, then start it again",
    "authentication": "give the credentials the right that the message names, then start it again",
    "stopped": "`pipelines resume`; it goes on where it ended",
    "memory": "start it with a larger memory_limit (docs/operating.md, another compute size)",
    "defect": "keep its log; call the next on the ladder",
    "lost": "its process died: look at the machine (memory, disk), then start it again",
    "cancelled": "somebody ended it; start it again when it is wanted",
}
SHORTEST = 6
RECENT_RUNS = 5000


@app.callback()
def one_run() -> None:
    """Look at one run."""


@dataclass(frozen=True)
class RunAccount:
    """One run as it is told; what there is none of is left out."""

    facts: Row
    steps: list[Row] = field(default_factory=list)
    errors: list[Row] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    issues: list[Row] = field(default_factory=list)
    published: list[Row] = field(default_factory=list)


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Show steps, errors, checks, files, refused records and what one run published.

    Exit code 1 if it failed. Also knows runs of commands, which Dagster does not.
    """
    with code_location() as location:
        account = _account(location, run)
        if as_json:
            show_facts("Run", asdict(account), as_json=True)
        else:
            show_facts(f"Run {account.facts['run']}", account.facts, as_json=False)
            titles = {
                "errors": "Errors",
                "steps": "Steps",
                "checks": "Checks that did not pass",
                "files": "Files",
                "refused": "Records that it refused",
                "issues": "Issues",
                "published": "Published",
            }
            for name, title in titles.items():
                rows: list[Row] = getattr(account, name)
                if name == "checks":
                    rows = [row for row in rows if row["outcome"] != "pass"]
                if rows:
                    show_rows(title, rows, as_json=False)
    raise typer.Exit(FOUND_FAULTS if account.errors else 0)


def run_id_of(location: CodeLocation, prefix: str) -> str:
    """Return the one run whose id begins so, of Dagster or of a command.

    Raises NotFoundError if there is none, or more than one.
    """
    if location.instance.has_run(prefix):
        return prefix
    found: set[str] = set()
    if len(prefix) >= SHORTEST:
        found.update(location.instance.get_run_ids(limit=RECENT_RUNS))
        with location.services.database.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT run_id FROM etl_processing_log WHERE starts_with(run_id, %s)",
                (prefix,),
            ).fetchall()
        found |= {run_id for (run_id,) in rows}
        found = {run_id for run_id in found if run_id.startswith(prefix)}
        if not found and commits_by(location.services.lake, all_tables(), prefix):
            return prefix
    if len(found) != 1:
        what = "more than one run" if found else "no run that is remembered"
        raise NotFoundError(
            f"{prefix!r} is {what}; `runs` lists runs, give at least {SHORTEST} characters."
        )
    return found.pop()


def made_from(
    location: CodeLocation,
) -> Callable[[tuple[str, ...], Collection[str]], dict[tuple[str, ...], set[str]]]:
    """Return what tells which partitions of which assets are made from some of one."""
    today = utc_now().date()

    def found(key: tuple[str, ...], keys: Collection[str]) -> dict[tuple[str, ...], set[str]]:
        affected = downstream(location.graph, dg.AssetKey(key), keys, last=today)
        return {tuple(one.path): partitions for one, partitions in affected.items()}

    return found


def commit_row(commit: Commit) -> Row:
    """Describe a commit: table, snapshot, when, partitions, rows, code version and inputs."""
    changes = commit.changes.values()
    return {
        "table": "/".join(commit.table.asset_key),
        "at (UTC)": commit.publication.committed_at,
        "partitions": sorted(str(one) for one in commit.changes if one is not None),
        "rows added": sum(one.rows_added for one in changes),
        "rows removed": sum(one.rows_removed for one in changes),
        "snapshot": commit.publication.snapshot_id,
        "code": commit.publication.properties.get("code_version"),
        "inputs": commit.publication.properties.get("inputs"),
    }


def _account(location: CodeLocation, prefix: str) -> RunAccount:
    run_id = run_id_of(location, prefix)
    with location.services.database.connection() as connection:
        files = files_of_run(connection, run_id)
        refused = refusals_of_run(connection, run_id)
        issues = issues_of_run(connection, run_id)
    commits = commits_by(location.services.lake, all_tables(), run_id)
    left: dict[str, list[Row]] = {
        "files": [dict(one) for one in files],
        "refused": [dict(one) for one in refused],
        "issues": [dict(one) for one in issues],
        "published": [commit_row(one) for one in commits],
    }
    records = location.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
    if not records:
        return RunAccount({"run": run_id, "job": "a command, not a job of Dagster"}, **left)
    run = records[0].dagster_run
    failed = read_errors(location.instance, run_id)
    return RunAccount(
        _facts(location, records[0], failed),
        steps=_steps(location.instance, run_id),
        errors=[
            {"step": one.task, "class": one.failure_class, "message": one.message}
            for one in failed
            if run.status == dg.DagsterRunStatus.FAILURE
        ],
        checks=_checks(location.instance, run_id),
        **left,
    )


def _facts(location: CodeLocation, record: dg.RunRecord, failed: Sequence[RunError]) -> Row:
    run, start, end = record.dagster_run, record.start_time, record.end_time
    kind = kind_of(run, failed)
    facts = {
        "run": run.run_id,
        "pipeline": next((one for one in pipelines(location.graph) if belongs(run, one)), None),
        "job": run.job_name,
        "status": run.status.value,
        "partitions": covered_partitions(run),
        "started (UTC)": datetime.fromtimestamp(start, UTC) if start else None,
        "seconds": round(end - start, 3) if start and end else None,
        "repeats": run.parent_run_id,
        "failure": kind,
        "do": NEXT[kind] if kind else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _steps(instance: dg.DagsterInstance, run_id: str) -> list[Row]:
    return [
        {
            "step": one.step_key,
            "ended as": None if one.status is None else one.status.value.lower(),
            "started (UTC)": datetime.fromtimestamp(one.start_time, UTC)
            if one.start_time
            else None,
            "seconds": round(one.end_time - one.start_time, 3)
            if one.start_time and one.end_time
            else None,
            "attempts": one.attempts,
        }
        for one in instance.get_run_step_stats(run_id)
    ]


def _checks(instance: dg.DagsterInstance, run_id: str) -> list[Row]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    evaluated = [
        entry.get_dagster_event().asset_check_evaluation_data
        for entry in instance.all_logs(run_id, of_type=kind)
    ]
    return [
        {
            "asset": one.asset_key.to_user_string(),
            "check": one.check_name,
            "outcome": outcome_of(one),
            "severity": one.severity.value,
            "why": one.description or "",
        }
        for one in evaluated
    ]
