"""`pipeline-platform reports morning, end-of-day, weekly, monthly`: the short form of the pages."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, pipeline_named
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, console
from pipeline_platform.commands.printing import show_rows, visible
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.operations.present import present_of
from pipeline_platform.operations.reports.catalog import make_page
from pipeline_platform.operations.reports.pages import Page, Section, html, markdown, short
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import ReportName
from pipeline_platform.warehouse.report_pages import kept_page

ROWS_ON_A_SCREEN = 8
PipelineName = Annotated[
    str | None, typer.Argument(metavar="[PIPELINE]", help="Or its beginning; else all.")
]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", dir_okay=False, help="Write the whole page there: .html, .md or .json."),
]
KeptDay = Annotated[
    date | None,
    typer.Option("--day", parser=parse_day, metavar="YYYY-MM-DD", help="As it was kept that day."),
]
Start = Annotated[
    date | None,
    typer.Option("--start-date", parser=parse_day, metavar="YYYY-MM-DD", help="Begin there."),
]
_SHAPES: Mapping[str, Callable[[Page], str]] = {
    ".html": html,
    ".md": markdown,
    ".json": lambda page: json.dumps(page.to_json(), indent=2, ensure_ascii=False),
}
All = Annotated[bool, typer.Option("--all", help="Every section, not only the four questions.")]


def morning(
    pipeline: PipelineName = None,
    day: KeptDay = None,
    is_all: All = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell what ran, failed, is late or waits for a person; exit code 1 if not all is well."""
    _tell("morning_check", pipeline, day, None, is_all, out, as_json)


def end_of_day(
    pipeline: PipelineName = None,
    day: KeptDay = None,
    is_all: All = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell what the last 24 hours brought; exit code 1 if not all is well."""
    _tell("end_of_day", pipeline, day, None, is_all, out, as_json)


def weekly(
    pipeline: PipelineName = None,
    day: KeptDay = None,
    start_date: Start = None,
    is_all: All = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell of the last seven days, or of all since a day; exit code 1 if not all is well."""
    _tell("weekly_report", pipeline, day, start_date, is_all, out, as_json)


def monthly(
    pipeline: PipelineName = None,
    day: KeptDay = None,
    is_all: All = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell of last month: cost, capacity, security, retention; exit code 1 if not all is well."""
    _tell("monthly_review", pipeline, day, None, is_all, out, as_json)


def _tell(
    name: ReportName,
    pipeline: str | None,
    day: date | None,
    start_date: date | None,
    is_all: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    with code_location() as location:
        wanted = [pipeline_named(pipeline)] if pipeline else list(runbooks())
        if out is not None and (len(wanted) > 1 or out.suffix not in _SHAPES):
            raise BadInputError("--out takes one PIPELINE's page, to a .html, .md or .json file.")
        if day is None:
            location.recorder.record_ended(location.services)
        pages = [
            _made(location, one, name, start_date)
            if day is None
            else _kept(location, one, name, day)
            for one in wanted
        ]
        if out is not None:
            out.write_text(_SHAPES[out.suffix](pages[0]), "utf-8")
            console.print(f"Written to {out}.", markup=False, highlight=False)
        elif as_json:
            show_rows("", [one.to_json() for one in pages], as_json=True)
        else:
            for one in pages:
                _show(one if is_all else short(one))
    raise typer.Exit(0 if all(one.is_fine for one in pages) else FOUND_FAULTS)


def _made(location: CodeLocation, pipeline: str, name: ReportName, start_date: date | None) -> Page:
    now, runbook = utc_now(), runbooks()[pipeline]
    first = None if start_date is None else datetime.combine(start_date, datetime.min.time(), UTC)
    if first is not None and first > now - timedelta(days=1):
        raise BadInputError(f"{start_date} is not a day that is over; begin earlier.")
    present = present_of(location.instance, runbook, now)
    return make_page(location.services, runbook, name, present, now=now, first=first)


def _kept(location: CodeLocation, pipeline: str, name: ReportName, day: date) -> Page:
    with location.services.database.connection() as connection:
        told = kept_page(connection, pipeline, name, day)
    if told is None:
        raise NotFoundError(f"No {name} of {pipeline} is kept for {day}.")
    return Page.from_json(told)


def _show(page: Page) -> None:
    console.rule(f"{page.title}: {page.pipeline}, {page.made_at:%Y-%m-%d %H:%M} UTC", align="left")
    console.print(str(visible(page.verdict)), style="bold", markup=False, highlight=False)
    for one in page.sections:
        _show_section(one)


def _show_section(section: Section) -> None:
    rows: Sequence[dict[str, object]] = [
        {name: value for name, value in row.items() if name != "partitions"}
        for row in section.rows[:ROWS_ON_A_SCREEN]
    ]
    show_rows(
        f"{section.title}: {section.sentence}" if rows else section.title,
        rows,
        as_json=False,
        empty=section.sentence,
    )
    if section.count > len(rows):
        more = section.count - len(rows)
        console.print(f"  and {more} more: --out PAGE.html has them.", markup=False)
