"""`pipeline-platform pipelines`: list, execute, stop, resume (XC-5, SA-67, SC-29, SC-30, SP-24)."""

import getpass
import uuid
from datetime import date, timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import (
    ToDay,
    one_of,
    parse_day,
    parse_duration,
    pipeline_named,
    pipeline_names,
)
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.first_records import first_records
from pipeline_platform.commands.output import AsJson, console
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.orchestration.history import pipelines
from pipeline_platform.orchestration.launching import Workflows
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import stops
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

app = typer.Typer(help="Pipelines: list, execute, stop and resume them.")
Pipeline = Annotated[
    str | None, typer.Argument(help="Its name or the beginning of it; without one, all.")
]
Reason = Annotated[str, typer.Option(help="Why; whoever meets the stop reads it.")]


@app.callback()
def switches() -> None:
    """List, stop and resume pipelines."""


@app.command("list")
def list_pipelines(as_json: AsJson = False) -> None:
    """List every pipeline and whether it is stopped, since when, by whom and why."""
    with code_location() as location:
        names = pipelines(location.graph)
        with location.services.database.transaction() as connection:
            stops.register_pipelines(connection, names)
            found = stops.stops(connection)
        rows = []
        for name in names:
            stop = found.get(stops.EVERYTHING) or found.get(name)
            rows.append(
                {
                    "pipeline": name,
                    "state": "stopped" if stop else "running",
                    "scope": None if stop is None else stop.scope,
                    "since (UTC)": None if stop is None else stop.stopped_at,
                    "by": None if stop is None else stop.stopped_by,
                    "reason": None if stop is None else stop.reason,
                }
            )
        show_rows("Pipelines", rows, as_json=as_json)


@app.command()
def execute(
    pipeline: Annotated[str, typer.Argument(help="Its name or the beginning of it.")],
    first: Annotated[
        date, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First day.")
    ],
    last: ToDay = None,
    as_json: AsJson = False,
) -> None:
    """Queue a run of the workflow over the partitions of a day, or up to --to (SP-24, SC-5).

    As POST /pipelines/{id}/execute does: the daemon begins it, `watch RUN` follows it. `partitions
    process` does what waits at once, without a daemon.
    """
    with code_location() as location:
        name = one_of(pipeline, pipelines(location.graph))
        workflows = Workflows(location.definitions, location.instance)
        begin, end = workflows.partitions(name, first, last or first)
        actor, run_id = command_line_actor(), str(uuid.uuid4())
        facts = {"run": run_id, "pipeline": name, "partitions": f"{begin} to {end}"}
        with audited(location.services.database, Action(actor, "execute", name)) as action:
            stops.require_running(location.services.database, name)
            span = date.fromisoformat(begin), date.fromisoformat(end)
            workflows.start(name, *span, run_id=run_id, actor=actor)
            action.state_after = facts
        show_facts("Queued", facts, as_json=as_json)


@app.command()
def stop(pipeline: Pipeline = None, *, reason: Reason) -> None:
    """Stop one pipeline or all: nothing starts, and what runs ends between two commits.

    It survives every restart, until `pipelines resume`. What is queued is cancelled when its turn
    comes; partitions that were requested stay requested.
    """
    with code_location() as location:
        _switch(location, pipeline, "stop", reason)


@app.command()
def resume(
    pipeline: Pipeline = None,
    *,
    reason: Reason = "",
    first_records_within: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar="90s|5m|2h",
            help="Wait so long for the first records that are taken in; exit code 1 if files wait "
            "and none is, 75 if nothing was delivered.",
        ),
    ] = None,
) -> None:
    """Let one pipeline go on, or all that were not stopped alone (SC-12, SW-52).

    Requested partitions and waiting files are taken up again; ticks of schedules that were missed
    are not made up for.
    """
    resumed_at = utc_now()
    with code_location() as location:
        _switch(location, pipeline, "resume", reason or None)
        if first_records_within is not None:
            going = _going(location, pipeline)
            for told in first_records(location.services, going, resumed_at, first_records_within):
                console.print(told, markup=False, highlight=False)


def _going(location: CodeLocation, pipeline: str | None) -> list[str]:
    """Return those of the pipelines that nothing stops; BadInputError if there is none."""
    wanted = pipeline_names() if pipeline is None else [pipeline_named(pipeline)]
    with location.services.database.connection() as connection:
        stopped = stops.stops(connection)
    going = [one for one in wanted if not {one, stops.EVERYTHING} & stopped.keys()]
    if not going:
        raise BadInputError(
            "What was resumed is stopped still, alone or with everything; see `pipelines list`."
        )
    return going


def _switch(location: CodeLocation, pipeline: str | None, what: str, reason: str | None) -> None:
    scope = stops.EVERYTHING
    if pipeline is not None:
        scope = one_of(pipeline, pipelines(location.graph))
    change = stops.stop if what == "stop" else stops.resume
    by = getpass.getuser()
    action = Action(command_line_actor(), what, scope, None, reason)
    database = location.services.database
    with audited(database, action), database.transaction() as connection:
        action.state_before = stops.in_words(connection)
        changed = change(connection, scope, by=by, reason=reason, now=utc_now())
        action.state_after = stops.in_words(connection)
    name = "Everything" if scope == stops.EVERYTHING else scope
    state = "stopped" if what == "stop" else "not stopped"
    console.print(f"{name} {'is now' if changed else 'was already'} {state}.", markup=False)
