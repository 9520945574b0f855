"""`pipeline-platform incidents`: what is broken, who works on it, what it was, and the figures."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import Limit, one_of
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    plain_failures,
    services,
    show_facts,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.operations import alerting
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.incident_figures import expected_green
from pipeline_platform.operations.incident_words import (
    days_in_words,
    expected_in_words,
    postmortem_page,
)
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.operations.plan import alertings
from pipeline_platform.operations.service_levels import stored_figures
from pipeline_platform.recovery.ended import recoveries_between
from pipeline_platform.run_context import utc_now

app = typer.Typer(
    help="Incidents: what is broken, who works on it, what it was.", no_args_is_help=True
)
Number = Annotated[int, typer.Argument(help="The incident's number.", min=1)]
OnlyPipeline = Annotated[str | None, typer.Option("--pipeline", help="Only this pipeline's.")]
Person = Annotated[
    str, typer.Option("--by", help="Who; else the user of this machine.", show_default=False)
]


@app.command("list")
def list_incidents(
    pipeline: OnlyPipeline = None,
    is_all: Annotated[bool, typer.Option("--all", help="Resolved ones, too.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List incidents that are not resolved, newest first; exit code 1 if there is one."""
    with plain_failures(), services() as opened:
        name = _pipeline(pipeline)
        with opened.database.connection() as connection:
            found = store.incidents(
                connection, pipeline=name, is_open=None if is_all else True, limit=limit
            )
            lost = store.undelivered(connection, [one.incident_id or 0 for one in found])
        rows = [_row(one, lost.get(one.incident_id or 0, [])) for one in found]
        show_rows("Incidents", rows, as_json=as_json, empty="none is open.")
    raise typer.Exit(FOUND_FAULTS if any(one.state != "RESOLVED" for one in found) else 0)


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """Show one incident: what is broken, what its dry run said, its timeline, who was told."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = store.incident(connection, number)
            faults = list(store.faults(connection, number).values())
            lines = store.timeline(connection, number)
            told = store.deliveries(connection, number)
            dry_run = store.dry_run_of(connection, number)
            changes = store.changes_of(connection, number)
            expected = expected_green(found.cause, store.mended_like(connection, found))
            lost = store.undelivered(connection, [number])
        facts = {
            **_row(found, lost.get(number, [])),
            "cause": found.cause,
            "route": found.route,
            "answered": found.acknowledged_at,
            "answered by": found.acknowledged_by,
            "resolved": found.resolved_at,
            "resolution": found.resolution,
            "command": found.remedy.command,
            "dry run": None if dry_run is None else dry_run.in_words(),
            "changed before": None if changes is None else changes.in_words(),
            "expected": None
            if found.state == "RESOLVED"
            else expected_in_words(expected, found.opened_at),
        }
        broken: list[Mapping[str, object]] = [
            {
                "what": one.name,
                "state": one.state,
                "severity": one.severity,
                "since (UTC)": one.began_at,
                "partitions": days_in_words([one]) or None,
                "in words": one.sentence,
            }
            for one in faults
        ]
        history: list[Mapping[str, object]] = [
            {"at (UTC)": one.at, "what": one.kind, "in words": one.sentence} for one in lines
        ]
        if as_json:
            everything = {"faults": broken, "timeline": history, "deliveries": told}
            show_rows("", [{**facts, **everything}], as_json=True)
            return
        show_facts(f"Incident {number}", facts, as_json=False)
        show_rows("What is or was broken", broken, as_json=False)
        show_rows("Timeline", history, as_json=False)
        show_rows("Who was told", told, as_json=False, empty="nobody.")


@app.command()
def acknowledge(number: Number, by: Person = "") -> None:
    """Say that you work on it: it is not escalated any more."""
    with plain_failures(), services() as opened:
        person = by or getpass.getuser()
        with acting(opened, "acknowledge", f"incident {number}") as action:
            found = alerting.acknowledge(opened, number, person, utc_now())
            action.state_after = {"by": found.acknowledged_by}
        console.print(f"{found.acknowledged_by} works on incident {number}.", markup=False)


@app.command()
def note(
    number: Number,
    text: Annotated[str, typer.Argument(help="What you found or did.")],
    by: Person = "",
) -> None:
    """Write what you found or did into its timeline, also after its end (SA-70)."""
    with plain_failures(), services() as opened:
        if not text.strip():
            raise BadInputError("Write what you found or did after the incident's number.")
        with acting(opened, "note", f"incident {number}"):
            alerting.note(opened, number, by or getpass.getuser(), text.strip(), utc_now())
        console.print(f"It stands in the timeline of incident {number}.", markup=False)


@app.command()
def resolve(
    number: Number,
    reason: Annotated[str, typer.Option(help="What it was, or why it is none.")],
    by: Person = "",
) -> None:
    """Close it by hand: what is still broken is set aside until it breaks anew."""
    with plain_failures(), services() as opened:
        if not reason.strip():
            raise BadInputError("Give a reason; whoever reads the incident later needs it.")
        person = by or getpass.getuser()
        with acting(opened, "resolve", f"incident {number}", reason=reason.strip()):
            alerting.resolve(opened, number, person, reason.strip(), utc_now())
        console.print(f"Incident {number} is resolved; who was told of it is told.", markup=False)


@app.command()
def postmortem(
    number: Number,
    out: Annotated[Path | None, typer.Option(help="Write the page there.")] = None,
) -> None:
    """Print a post-mortem page in Markdown, with facts and timeline filled in (SA-70, SC-35)."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = store.incident(connection, number)
            faults = list(store.faults(connection, number).values())
            lines = store.timeline(connection, number)
            changes = store.changes_of(connection, number)
            ended = found.resolved_at or utc_now()
            recoveries = recoveries_between(connection, found.began_at, ended)
        page = postmortem_page(found, faults, lines, changes, recoveries)
        if out is None:
            typer.echo(page)
            return
        if out.exists():
            raise BadInputError(f"{out} exists already; somebody may have written in it.")
        out.write_text(page, "utf-8")
        console.print(f"Written to {out}.", markup=False, highlight=False)


@app.command()
def figures(
    pipeline: OnlyPipeline = None,
    months: Annotated[int, typer.Option(min=1, max=60, help="So many, with this one.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show time to detect and to recover, availability and error budget by month (XC-4).

    Exit code 1 if a promise is broken this month. A month in which nobody watched is not measured.
    """
    with plain_failures(), services() as opened:
        now = utc_now()
        name = _pipeline(pipeline)
        told = None if name is None else [alertings()[name]]
        rows = stored_figures(opened, months, now, told)
        if as_json:
            show_rows("Figures", [asdict(one) for one in rows], as_json=True)
        else:
            shown = [
                {
                    "month": one.month,
                    "pipeline": one.pipeline,
                    "incidents": one.incidents,
                    "detect min": _number(one.detect_minutes),
                    "recover min": _number(one.recover_minutes),
                    "between h": _number(one.between_minutes, per=60),
                    "watched %": _number(one.watched_pct),
                    "probed h": _number(one.probed_minutes or None, per=60) or "no probes",
                    "available %": _number(one.availability_pct, digits=3) or "not measured",
                    "budget left min": _number(one.budget_left_minutes),
                    "keeps": _kept((one.keeps_availability, one.keeps_recovery)),
                }
                for one in rows
            ]
            show_rows("Incidents by month", shown, as_json=False)
    present = [one for one in rows if one.month == f"{now:%Y-%m}"]
    is_broken = any(False in (one.keeps_availability, one.keeps_recovery) for one in present)
    raise typer.Exit(FOUND_FAULTS if is_broken else 0)


def _pipeline(name: str | None) -> str | None:
    return None if name is None else one_of(name, alertings())


def _row(one: Incident, lost: Sequence[str]) -> dict[str, object]:
    return {
        "incident": one.incident_id,
        "pipeline": one.pipeline,
        "severity": one.severity,
        "state": one.state,
        "since (UTC)": one.began_at,
        "level": one.level,
        "undelivered": list(lost) or None,
        "what": one.title,
    }


def _number(value: float | None, *, per: float = 1, digits: int = 1) -> str | None:
    return None if value is None else f"{value / per:.{digits}f}"


def _kept(promises: Sequence[bool | None]) -> str:
    if False in promises:
        return "no"
    return "yes" if True in promises else "not measured"
