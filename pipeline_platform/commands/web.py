"""`pipeline-platform web`: sources of web events and what a file would give; relabelling."""

import uuid
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands import relabel
from pipeline_platform.commands.arguments import parse_day
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, plain_failures
from pipeline_platform.commands.passport import show_passport
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.lake.engine import connect
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.refinement import reading_of
from pipeline_platform.web_events.run_context import RunContext, shipped_sources
from pipeline_platform.web_events.source_check import SourceReport, check_file
from pipeline_platform.web_events.sources import load_mappings
from pipeline_platform.web_events.tables import PIPELINE

app = typer.Typer(help="Web events: sources, where one came from, labels of the past.")
source = typer.Typer(help="Where events come from, and how they are written.")
app.add_typer(source, name="source")
app.add_typer(relabel.app, name="relabel")
Mappings = Annotated[
    Path | None,
    typer.Option("--sources", exists=True, file_okay=False, help="Folder of sources to try."),
]


@source.command("list")
def list_sources(sources: Mappings = None, as_json: AsJson = False) -> None:
    """List the sources whose files can be read, and how their files are named."""
    with plain_failures():
        found = load_mappings(sources) if sources else shipped_sources()
        rows = [
            {
                "source": one.source,
                "title": one.title,
                "format": one.format.kind,
                "file name": one.file_name.pattern,
                "example": one.file_name.example,
                "mapping version": one.version[:12],
            }
            for one in found.values()
        ]
        show_rows("Sources", rows, as_json=as_json)


@source.command()
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A delivered file.")],
    sources: Mappings = None,
    as_json: AsJson = False,
) -> None:
    """Say which source a file is of, what would be read, what fails and how it would score.

    Nothing is stored. The exit code is 1 if any record of the file would end up in quarantine.
    """
    with plain_failures():
        settings = Settings.from_env()
        known = load_mappings(sources) if sources else shipped_sources()
        run = RunContext(Services(settings), f"cli-{uuid.uuid4()}", sources=known)
        with connect(settings) as engine:
            report = check_file(engine, file, reading_of(run), run.runbook.rulings, utc_now())
        show_facts(f"Check of {report.file_name}", _facts(report), as_json=as_json)
        if not as_json and report.rejected:
            rows = [
                {"rule": rule, "records": count, "for example": "\n".join(report.examples[rule])}
                for rule, count in report.rejected.items()
            ]
            show_rows("Records that stay out", rows, as_json=False)
    raise typer.Exit(0 if report.is_good else FOUND_FAULTS)


@app.command()
def passport(
    event_id: Annotated[str, typer.Argument(help="The event's id, as silver has it.")],
    day: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Its day, which is faster."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Trace one event: gold of its day, its row in silver, every delivery, file, line and hash."""
    show_passport(PIPELINE, event_id, day, as_json=as_json)


def _facts(report: SourceReport) -> dict[str, object]:
    return {
        "source": report.source,
        "mapping version": report.mapping_version and report.mapping_version[:12],
        "refused by": report.failure_rule,
        "reason": report.failure,
        "records": report.records,
        "would reach bronze": report.readable,
        "would be quarantined": sum(report.rejected.values()),
        "rejected": dict(report.rejected),
        "events": report.events,
        "days": f"{report.first_day} to {report.last_day}" if report.first_day else None,
        "event types": dict(report.event_types),
        "bot events": report.bot_events,
        "visitors": report.visitors,
        "mean score": report.mean_score and round(report.mean_score, 3),
        "what costs score": dict(report.deductions),
        "is good": report.is_good,
    }
