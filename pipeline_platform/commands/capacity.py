"""`capacity`: how rows and bytes go on growing, and when a limit is crossed (SW-66, SA-48)."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, pipeline_named, pipeline_names
from pipeline_platform.commands.lake_tables import runbook_of, tables_of
from pipeline_platform.commands.output import AsJson, errors, plain_failures, services
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.operations.alerting import Reading, Router
from pipeline_platform.operations.capacity import Outlook, finding_of, outlooks, plot
from pipeline_platform.operations.growth import remember_sizes, sampled_series, table_series
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services

FORECAST_DAYS = 90


def capacity(
    forecast_days: Annotated[int, typer.Option(min=1, max=730, help="How far to look.")] = (
        FORECAST_DAYS
    ),
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's tables.")] = None,
    as_of: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="As if this were today."),
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Draw history and forecast (png, svg, pdf).")
    ] = None,
    tell: Annotated[
        bool, typer.Option("--tell", help="Open or resolve incidents; send what waits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Forecast rows a day and sizes, with a 90 % interval and the day a limit is crossed.

    Limits stand in the runbooks' section `capacity`. A series with less than 28 observed days, or
    none in the last week, is not measurable and says so.
    """
    with plain_failures(), services() as opened:
        if tell and as_of is not None:
            raise BadInputError("Nobody is told what would be the case on another day.")
        found = look_ahead(opened, forecast_days, pipeline=pipeline, as_of=as_of)
        if plot_file is not None:
            plot(found, plot_file)
        if tell:
            _tell(opened, found)
    if as_json:
        show_rows("Capacity", [one.row() for one in found], as_json=True)
        return
    for one in found:
        typer.echo(one.sentence)


def _tell(opened: Services, found: Sequence[Outlook]) -> None:
    """Let incidents follow from each series whose limit stands in a runbook."""
    now = utc_now()
    findings = [
        finding
        for runbook in runbooks().values()
        for one in found
        if one.series.name in runbook.capacity
        and (finding := finding_of(one, runbook, now)) is not None
    ]
    done = Router(opened).round(
        lambda reached, _: Reading(tuple(findings), reached, is_complete=True)
    )
    errors.print(done.in_words(), highlight=False)


def look_ahead(
    opened: Services, forecast_days: int, *, pipeline: str | None, as_of: date | None
) -> list[Outlook]:
    """Return the outlook of every table that is partitioned by day, of database and disk."""
    now = utc_now()
    pipelines = pipeline_names() if pipeline is None else [pipeline_named(pipeline)]
    limits = {
        name: wanted.limit for one in pipelines for name, wanted in runbook_of(one).capacity.items()
    }
    today = as_of or now.date()
    remember_sizes(opened, now)
    series = [
        one
        for each in pipelines
        for table in tables_of(each)
        if opened.lake.exists(table)
        for one in table_series(opened, table, today)
    ]
    with opened.database.connection() as connection:
        series += sampled_series(connection)
    return outlooks(series, limits, today=today, horizon_days=forecast_days)
