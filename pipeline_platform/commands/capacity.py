"""`capacity`: how rows and bytes go on growing, and when a limit is crossed (SW-66, SA-48)."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, pipeline_named, pipeline_names
from pipeline_platform.commands.output import AsJson, errors, plain_failures, services
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.operations.capacity import plot
from pipeline_platform.operations.capacity_alerts import FORECAST_DAYS, look_ahead, tell_of
from pipeline_platform.operations.growth import remember_sizes
from pipeline_platform.run_context import utc_now


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
        now = utc_now()
        pipelines = pipeline_names() if pipeline is None else [pipeline_named(pipeline)]
        remember_sizes(opened, now)
        found = look_ahead(opened, pipelines, as_of or now.date(), forecast_days)
        if plot_file is not None:
            plot(found, plot_file)
        if tell:
            errors.print(tell_of(opened, found, now).in_words(), highlight=False)
    if as_json:
        show_rows("Capacity", [one.row() for one in found], as_json=True)
        return
    for one in found:
        typer.echo(one.sentence)
