"""Arguments and options that several commands share: pipelines, days, months, instants."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.pipeline_folders import pipeline_folders

PACKAGE = Path(__file__).parents[1]


def parse_day(text: str | date) -> date:
    """Read a day written YYYY-MM-DD; the command line refuses anything else (exit code 2)."""
    if isinstance(text, date):
        return text
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write it as YYYY-MM-DD.") from None


def parse_month(text: str | date) -> date:
    """Read a month written YYYY-MM, or as any of its days; return its first day."""
    if isinstance(text, date):
        return text.replace(day=1)
    try:
        return date.fromisoformat(f"{text}-01" if text.count("-") == 1 else text).replace(day=1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a month; write it as YYYY-MM.") from None


def parse_instant(text: str | datetime) -> datetime:
    """Read an instant; a day alone stands for its end, an instant without zone is UTC."""
    if isinstance(text, datetime):
        return text
    try:
        if len(text) == len("2026-03-03"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is not an instant; write YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS+00:00."
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def parse_duration(text: str | timedelta) -> timedelta:
    """Read a length of time such as 90s, 5m, 2h or 7d."""
    if isinstance(text, timedelta):
        return text
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 5m, 2h or 7d.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def pipeline_names() -> list[str]:
    """Return the pipelines that have a runbook, sorted."""
    return list(pipeline_folders())


def pipeline_named(name: str) -> str:
    """Return the pipeline of that name, or the only one that begins so (`advisory`)."""
    return one_of(name, pipeline_names())


def one_of(name: str, pipelines: Iterable[str]) -> str:
    """Return the one of these pipelines that has this name, or the only one that begins so."""
    known = sorted(pipelines)
    found = [one for one in known if one.startswith(name)] if name not in known else [name]
    if len(found) != 1 or not name:
        raise NotFoundError(
            f"{name!r} is not one pipeline; choose from {', '.join(found or known)}."
        )
    return found[0]


def check_period(first: date | None, last: date | None) -> None:
    """Raise BadInputError for a period that ends before it starts."""
    if first and last and last < first:
        raise BadInputError(f"The period ends on {last}, before it starts on {first}.")


Day = Annotated[date, typer.Argument(parser=parse_day, metavar="YYYY-MM-DD")]
Instant = Annotated[
    datetime,
    typer.Option(parser=parse_instant, metavar="INSTANT", help="A day stands for its end (UTC)."),
]
FromDay = Annotated[
    date | None, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First day.")
]
ToDay = Annotated[
    date | None, typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last day.")
]
Duration = Annotated[timedelta, typer.Option(parser=parse_duration, metavar="90s|5m|2h|7d")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many rows.")]
Vendor = Annotated[str | None, typer.Option(help="Only this vendor.")]
