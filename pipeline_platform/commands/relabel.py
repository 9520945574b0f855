"""`pipeline-platform web relabel`: other labels or scores for history, shown first (B-10)."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline_platform.commands.arguments import FromDay, Limit, ToDay, check_period
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.output import AsJson, console, plain_failures, services
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.services import Services
from pipeline_platform.warehouse.proposals import Proposal, find_proposal, list_proposals
from pipeline_platform.web_events import bots, proposals
from pipeline_platform.web_events.foretelling import effect_tables, mart_effects
from pipeline_platform.web_events.relabelling import Change
from pipeline_platform.web_events.rulings import Runbook
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE

app = typer.Typer(help="Other labels or scores for events of the past: show, publish, throw away.")
ProposalId = Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its id; see `list`.")]


@app.command()
def propose(
    first: FromDay = None,
    last: ToDay = None,
    only: Annotated[
        Change | None, typer.Option(help="Labels by bot rules, or scores by weights; else both.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of bot rules to try."),
    ] = None,
    runbook: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Runbook to try: weights, friends, behaviour."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Label and score published days by today's rules, beside the table, and show what changes.

    Nobody else sees any of it until it is published. Days that these rules made are left out.
    """
    with plain_failures(), services() as opened:
        check_period(first, last)
        run = RunContext(
            opened,
            f"relabel-{uuid.uuid4().hex[:8]}",
            runbook=Runbook.load(runbook) if runbook else load_runbook(),
            bot_rules=rules or bots.FOLDER,
        )
        changes = proposals.CHANGES if only is None else (only,)
        made = proposals.propose(run, changes, first=first, last=last, marts=mart_effects)
        _show(made, as_json=as_json)
        if not as_json:
            console.print(
                f"Decide with `web relabel publish {made.proposal_id}` or `discard`.",
                highlight=False,
            )


@app.command("list")
def list_all(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List proposals, newest first."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = list_proposals(connection, PIPELINE, limit)
        rows = [
            {
                "proposal": one.proposal_id,
                "state": one.state.lower(),
                "made (UTC)": one.created_at,
                "changes": one.made_with["changes"],
                "days": len((one.report or {}).get("by_day", [])),
                "events that change sides": (one.report or {}).get("changed_events"),
                "events rescored": (one.report or {}).get("rescored_events"),
            }
            for one in found
        ]
        show_rows("Proposals", rows, as_json=as_json, empty="none.")


@app.command()
def show(proposal: ProposalId, as_json: AsJson = False) -> None:
    """Show what a proposal would change: by day, rule and agent, in the marts and in checks."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = find_proposal(connection, PIPELINE, proposal)
        _show(found, as_json=as_json)


@app.command()
def publish(proposal: ProposalId, as_json: AsJson = False) -> None:
    """Make a proposal's days visible in one commit, and request the marts made from them.

    A day that was rewritten since the proposal was made is judged again first. The rules that
    made the proposal must be in force.
    """
    with plain_failures(), services() as opened:
        with acting(opened, "publish proposal", proposal) as action:
            done = proposals.publish(_run(opened), proposal)
            action.state_after = {"days published": len(done.partitions)}
        facts = {
            "proposal": proposal,
            "snapshot": done.publication.snapshot_id if done.publication else None,
            "days published": len(done.partitions),
            "days judged again": [str(day) for day in done.judged_again],
            "days requested": len(done.requested),
        }
        show_facts("Published", facts, as_json=as_json)


@app.command()
def discard(proposal: ProposalId, as_json: AsJson = False) -> None:
    """Throw a proposal and its files away; nothing that is published changes."""
    with plain_failures(), services() as opened:
        with acting(opened, "discard proposal", proposal):
            proposals.discard(_run(opened), proposal)
        show_facts("Thrown away", {"proposal": proposal}, as_json=as_json)


def _run(opened: Services) -> RunContext:
    return RunContext(opened, f"cli-{uuid.uuid4().hex[:8]}")


def _show(proposal: Proposal, *, as_json: bool) -> None:
    report = proposal.report or {}
    if as_json:
        show_facts("", asdict(proposal), as_json=True)
        return
    facts = {
        "state": proposal.state.lower(),
        "made (UTC)": proposal.created_at,
        "made with": proposal.made_with["versions"],
        "days": len(report.get("by_day", [])),
        "days in which anything differs": len(report.get("changed_days", [])),
        "events with another label": report.get("relabelled_events"),
        "events that change sides": report.get("changed_events"),
        "events of friends": report.get("befriended_events"),
        "events with another score": report.get("rescored_events"),
        "forbids publication": report.get("objections") or None,
    }
    show_facts(f"Proposal {proposal.proposal_id}", facts, as_json=False)
    for title, rows in _tables(report):
        if rows:
            show_rows(title, rows, as_json=False)


def _tables(report: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the parts of a report that say that something differs, as tables."""

    def where(name: str, differs: Sequence[tuple[str, str]]) -> list[Mapping[str, Any]]:
        return [
            row for row in report.get(name, []) if any(row[one] != row[two] for one, two in differs)
        ]

    return [
        ("Bots by day", [row for row in report.get("by_day", []) if _moves(row)]),
        ("Bots by rule", where("by_rule", [("events_before", "events_after")])),
        ("Agents that change sides", report.get("examples", [])),
        ("Score by day", where("scores_by_day", [("avg_before", "avg_after")])),
        ("Score by rule", where("scores_by_rule", [("cost_before", "cost_after")])),
        *effect_tables(report),
    ]


def _moves(day: Mapping[str, Any]) -> bool:
    return bool(day["becomes_bot"] or day["becomes_human"])
