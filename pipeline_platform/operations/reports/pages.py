"""A page: a verdict and sections of rows and plots, the same as Markdown, HTML and JSON.

Pure. Rows hold plain values only, so that a page that was kept and read again is the same page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal

import jinja2

from pipeline_platform import plots
from pipeline_platform.runbook import ReportName

Row = Mapping[str, object]
Kind = Literal["failed", "late", "waits", "ran", "detail", "broken"]
"""What a section tells: the four questions of a page, or details.

`waits` is what is queued for a person, `broken` a section that could not be answered.
"""
SHOWN_ROWS = 100
COMMAND = "command"
"""The column whose cells are commands."""
_MARKDOWN = str.maketrans({"|": "/", "\n": " ", "\r": " ", "<": "&lt;", "[": r"\[", "]": r"\]"})


@dataclass(frozen=True)
class Plot:
    """A figure by day or hour: `points` are ISO instants and values, the oldest first."""

    title: str
    points: Sequence[tuple[str, float]]
    limit: float | None = None
    kind: Literal["line", "bars"] = "line"

    @property
    def svg(self) -> str:
        """The picture."""
        if self.kind == "bars":
            return plots.bars(self.title, [(_short(at), value) for at, value in self.points])
        history = [(datetime.fromisoformat(at), value) for at, value in self.points]
        return plots.trend(self.title, history, self.limit)


@dataclass(frozen=True)
class Section:
    """One part of a page: what was found as rows, or in a sentence why there are none.

    `count` is how many rows there are, of which the first hundred are kept.
    """

    title: str
    rows: Sequence[Row]
    sentence: str
    plots: Sequence[Plot] = ()
    kind: Kind = "detail"
    count: int = field(default=-1)

    def __post_init__(self) -> None:
        """Keep so many rows, of plain values, and no plot without a point."""
        if self.count < 0:
            object.__setattr__(self, "count", len(self.rows))
        kept = [{name: plain(value) for name, value in row.items()} for row in self.rows]
        object.__setattr__(self, "rows", tuple(kept[:SHOWN_ROWS]))
        object.__setattr__(self, "plots", tuple(one for one in self.plots if one.points))


@dataclass(frozen=True)
class Page:
    """One pipeline's page as it was when it was made."""

    pipeline: str
    name: ReportName
    title: str
    made_at: datetime
    sections: Sequence[Section]

    @property
    def day(self) -> date:
        """The day (UTC) that it is found by."""
        return self.made_at.astimezone(UTC).date()

    def count(self, *kinds: Kind) -> int:
        """Return how many rows the sections of these kinds have."""
        return sum(one.count for one in self.sections if one.kind in kinds)

    @property
    def is_fine(self) -> bool:
        """Tell whether nothing failed, nothing is late, and every section was answered."""
        return self.count("failed", "late") == 0 and not self.unanswered

    @property
    def unanswered(self) -> list[str]:
        """Why sections could not be answered."""
        return [one.sentence for one in self.sections if one.kind == "broken"]

    @property
    def verdict(self) -> str:
        """Say in one line whether somebody must act."""
        kinds = {one.kind for one in self.sections}
        parts = [f"{len(self.unanswered)} sections not answered"] if self.unanswered else []
        words: tuple[tuple[Kind, str], ...] = (
            ("failed", "failed"),
            ("late", "late"),
            ("waits", "waiting for a person"),
        )
        parts += [f"{self.count(kind)} {word}" for kind, word in words if kind in kinds]
        if not parts:
            return "Nothing to decide."
        state = "All is well" if self.is_fine else "Not well"
        return f"{state}: {', '.join(parts)}."

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own values."""
        return {
            "pipeline": self.pipeline,
            "report": self.name,
            "title": self.title,
            "made_at": self.made_at.astimezone(UTC).isoformat(),
            "is_fine": self.is_fine,
            "verdict": self.verdict,
            "sections": [
                {
                    "title": one.title,
                    "kind": one.kind,
                    "sentence": one.sentence,
                    "count": one.count,
                    "rows": [dict(row) for row in one.rows],
                    "plots": [
                        {
                            "title": plot.title,
                            "kind": plot.kind,
                            "limit": plot.limit,
                            "points": [[at, value] for at, value in plot.points],
                        }
                        for plot in one.plots
                    ],
                }
                for one in self.sections
            ],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Page":
        """Return the page that `to_json` told of."""
        sections = [
            Section(
                title=one["title"],
                rows=one["rows"],
                sentence=one["sentence"],
                plots=[
                    Plot(
                        plot["title"],
                        [(at, value) for at, value in plot["points"]],
                        plot["limit"],
                        plot["kind"],
                    )
                    for plot in one["plots"]
                ],
                kind=one["kind"],
                count=one["count"],
            )
            for one in told["sections"]
        ]
        made_at = datetime.fromisoformat(told["made_at"])
        return cls(told["pipeline"], told["report"], told["title"], made_at, sections)


def markdown(page: Page) -> str:
    """Return a page as Markdown, its plots inside."""
    parts = [f"# {page.title}: {page.pipeline}, {page.day}", f"**{page.verdict}**"]
    for one in page.sections:
        parts += [f"## {one.title}", one.sentence.translate(_MARKDOWN)]
        if one.rows:
            parts.append(markdown_table(one.rows))
        for plot in one.plots:
            parts.append(plots.in_markdown(plot.title.translate(_MARKDOWN), plot.svg))
    return "\n\n".join(parts) + "\n"


def html(page: Page) -> str:
    """Return a page as HTML that needs nothing from elsewhere; what it shows is never markup."""
    return _template().render(page=page, command=COMMAND)


def short(page: Page) -> Page:
    """Return what must be read first: what ran, failed, is late, or waits for a person."""
    first = [one for one in page.sections if one.kind != "detail"]
    return replace(page, sections=first or page.sections)


def plain(value: object) -> object:
    """Return a cell as JSON has it; instants are UTC and to the minute."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, date | Decimal):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(plain(one)) for one in value)
    return str(value)


def markdown_table(rows: Sequence[Row]) -> str:
    """Return at least one row of plain cells as a table of Markdown."""

    def line(cells: Sequence[object]) -> str:
        return f"| {' | '.join(cells_in_words(cells))} |"

    names = list(rows[0])
    shown = [
        [f"`{cell}`" if name == COMMAND and cell else cell for name, cell in row.items()]
        for row in rows
    ]
    return "\n".join([line(names), line(["---"] * len(names)), *map(line, shown)])


def cells_in_words(cells: Sequence[object]) -> list[str]:
    """Return cells as Markdown shows them."""
    return ["-" if cell is None else str(cell).translate(_MARKDOWN) for cell in cells]


def _short(at: str) -> str:
    """Return the hour of an instant, or its day if it is one."""
    return at[11:16] if len(at) > len("2026-01-01") else at


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("pipeline_platform.operations.reports", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.jinja")
