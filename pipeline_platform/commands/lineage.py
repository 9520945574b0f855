"""`pipeline-platform lineage`: what ran and what was made, for a lineage service (XC-9, SP-31)."""

from typing import Annotated

import typer

from pipeline_platform.commands.code_location import code_location
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, console, show_rows
from pipeline_platform.operations.lineage_assets import lineage_export
from pipeline_platform.operations.lineage_events import Event

app = typer.Typer(help="Lineage: runs and tables for a service that speaks OpenLineage.")


@app.callback()
def lineage() -> None:
    """Tell a lineage service of runs and tables."""


@app.command()
def send(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show what would be sent.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send what was not told yet to PLATFORM_LINEAGE_URL, as events of OpenLineage.

    The sensor `operations_lineage` does the same. A dry run needs no service; with --json it prints
    the events themselves, 200 runs, commits and loads at most. Exit code 1: some were not taken.
    """
    with code_location() as location:
        location.recorder.record_ended(location.services)
        export = lineage_export(location.services, location.graph, location.instance)
        if dry_run:
            events = export.events()
            rows = events if as_json else [_row(one) for one in events]
            show_rows("Not sent, dry run", rows, as_json=as_json, empty="everything was told.")
            return
        told = export.send()
        while not told.is_complete:
            told = told.and_then(export.send())
    if as_json:
        show_rows("", [vars(told)], as_json=True)
    else:
        console.print(told.in_words(), markup=False, highlight=False)
    raise typer.Exit(FOUND_FAULTS if told.refused else 0)


def _row(event: Event) -> dict[str, object]:
    return {
        "at": event["eventTime"],
        "event": event["eventType"],
        "job": event["job"]["name"],
        "made from": [one["name"] for one in event["inputs"]],
        "made": [one["name"] for one in event["outputs"]],
    }
