"""`pipeline-platform logs`: what a step said, or the platform's log by pipeline (SW-12, SC-32)."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

import dagster as dg
import typer

from pipeline_platform.commands.arguments import Duration, Limit, pipeline_named
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.history import parse_recent_day
from pipeline_platform.commands.log_lines import Wanted, followed, lines_of, row_of
from pipeline_platform.commands.output import AsJson, plain_failures
from pipeline_platform.commands.printing import show_rows, visible
from pipeline_platform.commands.run_details import run_id_of
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.logs import folder_of
from pipeline_platform.orchestration.history import covers, partitions_of_step, pipelines
from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.settings import Settings

RUNS_LOOKED_AT = 1000
Row = Mapping[str, object]


def logs(
    step: Annotated[
        str | None, typer.Option(help="Only this step, such as process_historical_data.")
    ] = None,
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_recent_day, metavar="DAY", help="Of the last run over this day."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Of this run: its id, or its beginning.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="Of the platform's log: what is of this pipeline.")
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Of it: a request to the HTTP service and its run."),
    ] = None,
    since: Duration = timedelta(days=1),
    level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Of it: at least this.")
    ] = "info",
    limit: Limit = 200,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Of it: go on with what is added, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a run said, in order: of the last run of a step over a day, or of one run (SW-12).

    Give --run, or --step and --partition. With --pipeline, --request or --follow it is the
    platform's own log, of all processes of this machine (SC-32): PLATFORM_HOME/logs has a file of
    JSON lines a day where PLATFORM_LOG_FORMAT is json, as it is in staging and production.
    """
    if pipeline is not None or request is not None or follow:
        with plain_failures():
            if follow and (run is not None or step is not None or partition is not None):
                raise BadInputError("--follow is of the log; `watch RUN` follows a run.")
            named = None if pipeline is None else pipeline_named(pipeline)
        wanted = Wanted(datetime.now(UTC) - since, level, named, request)
        _show_log(wanted, limit, follow=follow, as_json=as_json)
        return
    with code_location() as location:
        if run is None and (step is None or partition is None):
            raise BadInputError("Give --run, or --step and --partition, or --pipeline.")
        found = (
            _last_run(location, str(step), partition)
            if run is None and partition is not None
            else run_id_of(location, str(run))
        )
        rows = list(_lines(location.instance, found, step))
        title = f"Run {found}" + (f", {step}" if step else "")
        show_rows(title, rows[-limit:], as_json=as_json, empty="it said nothing.")


def _show_log(wanted: Wanted, limit: int, *, follow: bool, as_json: bool) -> None:
    with plain_failures():
        settings = Settings.from_env()
        if follow:
            _follow(settings, wanted, limit, as_json=as_json)
            return
        found = deque(lines_of(settings, wanted), maxlen=limit)
    rows = [dict(one) if as_json else row_of(one) for one in found]
    show_rows(f"Log in {folder_of(settings)}", rows, as_json=as_json, empty="it has no such line.")


def _follow(settings: Settings, wanted: Wanted, limit: int, *, as_json: bool) -> None:
    """Print each line as it comes, as JSON or in words, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        for line in followed(settings, wanted, limit):
            said = [str(one) for one in row_of(line).values() if one is not None]
            typer.echo(json.dumps(visible(line)) if as_json else visible("  ".join(said)))


def _last_run(location: CodeLocation, step: str, day: date) -> str:
    """Return the newest run that covered a day's partition and had the step."""
    graph, instance = location.graph, location.instance
    wanted = {one: partitions_of_step(graph, one, step, day) for one in pipelines(graph)}
    for run in instance.get_runs(limit=RUNS_LOOKED_AT):
        is_over = any(belongs(run, one) and covers(run, keys) for one, keys in wanted.items())
        if is_over and instance.get_run_step_stats(run.run_id, [step]):
            return run.run_id
    raise NotFoundError(
        f"None of the last {RUNS_LOOKED_AT} runs had the step {step!r} over {day}; `slowest` and "
        "`run show` name steps."
    )


def _lines(instance: dg.DagsterInstance, run_id: str, step: str | None) -> Iterator[Row]:
    for entry in instance.all_logs(run_id):
        if step is not None and entry.step_key != step:
            continue
        event = entry.dagster_event
        yield {
            "at (UTC)": datetime.fromtimestamp(entry.timestamp, UTC),
            "step": entry.step_key,
            "event": event.event_type_value if event is not None else "log",
            "message": entry.user_message or (event.message if event is not None else ""),
        }
