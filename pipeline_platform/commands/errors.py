"""`pipeline-platform errors` and `slowest`: what went wrong, and what took long."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.arguments import Limit, parse_duration
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.history import parse_recent_day
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson
from pipeline_platform.commands.output import errors as standard_error
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.orchestration.history import pipelines
from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.orchestration.run_failures import kind_of, read_errors
from pipeline_platform.orchestration.slowest import slowest_steps
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse.reports import errors_since

Row = Mapping[str, object]
_WHAT_NEXT = {
    "file": "quarantine list --kind files",
    "records": "quarantine list --kind rows",
    "stream": "reports checks",
    "publication": "reports checks",
}
OfPipeline = Annotated[
    str | None, typer.Option("--pipeline", help="Only this one: its name or the beginning of it.")
]


def parse_since(text: str | datetime) -> datetime:
    """Read `yesterday`, `today`, a day (its beginning, UTC) or a length of time such as 2h."""
    if isinstance(text, datetime):
        return text
    if text[:1].isdigit() and text[-1:] in "smhd":
        return utc_now() - parse_duration(text)
    return datetime.combine(parse_recent_day(text), datetime.min.time(), UTC)


Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=parse_since, metavar="2h|yesterday|YYYY-MM-DD"),
]
A_DAY, A_WEEK = timedelta(days=1), timedelta(days=7)


def errors(
    since: Since = None,
    pipeline: OfPipeline = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List what went wrong since a day ago, newest first; exit code 1 if anything did.

    Runs that failed (with the kind of failure), files and records held back, failed reads of
    streams, publications that their audit refused (SA-11, SA-52, SW-13). `reports errors` counts
    the same by time. The column `more` has the command that tells more.
    """
    begin = since or utc_now() - A_DAY
    with code_location() as location:
        name = None if pipeline is None else location.pipeline(pipeline)
        rows = errors_of(location, begin, name)
        show_rows(
            f"Errors since {begin:%Y-%m-%d %H:%M} UTC", rows[:limit], as_json=as_json, empty="none."
        )
        if len(rows) > limit:
            standard_error.print(f"{limit} of {len(rows)} are shown; --limit shows more.")
    raise typer.Exit(FOUND_FAULTS if rows else 0)


def errors_of(location: CodeLocation, since: datetime, pipeline: str | None) -> list[Row]:
    """Return what went wrong since an instant, newest first."""
    with location.services.database.connection() as connection:
        found: list[Row] = [
            {
                "at (UTC)": one["at"].astimezone(UTC),
                "pipeline": one["pipeline"],
                "what": one["what"],
                "where": one["name"],
                "kind": one["rule"],
                "count": one["error_count"],
                "why": one["reason"],
                "more": f"{_WHAT_NEXT[one['what']]} --pipeline {one['pipeline']}",
            }
            for one in errors_since(connection, since, pipeline)
        ]
    found += _failed_runs(location, since, pipeline)
    return sorted(found, key=_at, reverse=True)


def slowest(
    since: Since = None,
    pipeline: OfPipeline = None,
    limit: Limit = 10,
    as_json: AsJson = False,
) -> None:
    """List the slowest steps of the runs that ended in the last seven days (SP-37)."""
    begin = since or utc_now() - A_WEEK
    with code_location() as location:
        name = None if pipeline is None else location.pipeline(pipeline)
        rows = [
            {
                "seconds": one.seconds,
                "step": one.step,
                "partitions": one.partitions,
                "started (UTC)": one.started_at,
                "ended as": "success" if one.succeeded else "failure",
                "job": one.job,
                "run": one.run_id,
            }
            for one in slowest_steps(location.instance, begin, name, limit)
        ]
        show_rows("Slowest steps", rows, as_json=as_json, empty="no run ended.")


def _failed_runs(location: CodeLocation, since: datetime, pipeline: str | None) -> Iterator[Row]:
    """Yield a row per failed step; a run that was stopped or cancelled by somebody is none."""
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    names = [pipeline] if pipeline is not None else pipelines(location.graph)
    for record in location.instance.get_run_records(wanted):
        run, end = record.dagster_run, record.end_time
        of = next((name for name in names if belongs(run, name)), None)
        if kind_of(run) == "stopped" or (pipeline is not None and of is None):
            continue
        failed = read_errors(location.instance, run.run_id)
        for error in failed:
            yield {
                "at (UTC)": datetime.fromtimestamp(end, UTC) if end else record.update_timestamp,
                "pipeline": of,
                "what": "run",
                "where": error.task or run.job_name,
                "kind": kind_of(run, failed),
                "count": 1,
                "why": error.message,
                "more": f"run show {run.run_id}",
            }


def _at(row: Row) -> datetime:
    at = row["at (UTC)"]
    return at if isinstance(at, datetime) else datetime.min.replace(tzinfo=UTC)
