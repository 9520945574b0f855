"""How commands answer: tables for people, JSON for scripts, one sentence and a code on failure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline_platform.failures import PermanentError, PlatformError, TransientError
from pipeline_platform.progress import listening
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

console = Console()
errors = Console(stderr=True)

FOUND_FAULTS = 1
WRONG_USE = 2
CRASHED = 70
TRY_AGAIN = 75
"""Exit codes: what was checked is not well; the input is wrong; a fault of the program itself; may
work later (the last two after sysexits.h)."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def show_rows(
    title: str, rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str = "Nothing."
) -> None:
    """Print rows as a table, or as a JSON list; values from files are never read as markup."""
    if as_json:
        typer.echo(json.dumps([dict(row) for row in rows], default=_plain, ensure_ascii=False))
        return
    if not rows:
        console.print(f"{title}: {empty}", markup=False)
        return
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for name in rows[0]:
        is_number = all(isinstance(row[name], int | float | Decimal) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row.values()))
    console.print(table)


def show_facts(title: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print named values, one a line, or as a JSON object."""
    if as_json:
        typer.echo(json.dumps(dict(facts), default=_plain, ensure_ascii=False))
        return
    console.print(Text(title, style="bold"))
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        console.print(f"  {name:<{width}}  {_shown(value)}", markup=False, highlight=False)


@contextmanager
def services() -> Iterator[Services]:
    """Open the platform's services from the environment for one command."""
    with Services(Settings.from_env()) as opened:
        yield opened


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn a failure of the platform into one sentence on stderr and an exit code."""
    try:
        yield
    except TransientError as error:
        errors.print(f"Not now: {error}", markup=False, style="yellow")
        raise typer.Exit(TRY_AGAIN) from error
    except PermanentError as error:
        errors.print(f"Can't: {error}", markup=False, style="red")
        raise typer.Exit(WRONG_USE) from error
    except PlatformError as error:
        errors.print(str(error), markup=False, style="red")
        raise typer.Exit(FOUND_FAULTS) from error


@contextmanager
def progress(description: str, total: int | None, *, as_json: bool = False) -> Iterator[Progress]:
    """Show a bar with count and time on stderr; the task's id is 0.

    Nothing is shown with --json, or where stderr is no terminal.
    """
    with _bar(TextColumn("{task.fields[rate]}"), as_json=as_json) as bar:
        bar.add_task(description, total=total, rate="")
        yield bar


@contextmanager
def showing_progress(*, as_json: bool = False) -> Iterator[None]:
    """Show a bar on stderr, with count, rate and time, for each loop within that tells of itself.

    Nothing is shown with --json, or where stderr is no terminal.
    """
    with _bar(_Rate(), as_json=as_json) as bar, listening(_Bars(bar)):
        yield


class _Bars:
    """What a loop tells of itself, as bars that vanish when it is over."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def begin(self, what: str, total: int | None) -> int:
        return self._bar.add_task(what, total=total)

    def advance(self, number: int, count: int = 1) -> None:
        self._bar.advance(TaskID(number), count)

    def end(self, number: int) -> None:
        self._bar.remove_task(TaskID(number))


class _Rate(ProgressColumn):
    """How many parts are done in a second or in a minute, since the beginning."""

    def render(self, task: Task) -> Text:
        if not task.elapsed or not task.completed:
            return Text("")
        rate = task.completed / task.elapsed
        return Text(f"{rate:,.1f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min")


def _bar(rate: ProgressColumn, *, as_json: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeElapsedColumn(),
        console=errors,
        disable=as_json or not errors.is_terminal,
        redirect_stdout=False,  # what is piped must not end up on the terminal
    )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return str(value)
