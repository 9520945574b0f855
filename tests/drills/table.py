"""The table of drills in docs/operating.md: written by `python -m tests.drills`, read by a test."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.drills.rows import Fault, Measured

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
BEGIN = "<!-- drills: written by `python -m tests.drills` -->"
END = "<!-- end of drills -->"
HEAD = (
    "fault", "how it is made", "alert", "until told", "cadence that adds to it", "command",
    "until green", "compared, and the same",
)  # fmt: skip
_TIMES = (HEAD.index("until told"), HEAD.index("until green"))


def cells(fault: Fault, measured: Measured | None = None) -> list[str]:
    """Return a fault's row; without times where nothing was measured."""
    told, green = "", ""
    if measured is not None:
        told, green = f"{measured.until_alert:.1f} s", f"{measured.until_green:.1f} s"
        told = told if fault.waits == "-" else f"{fault.waits} + {told}"
    alert = f"{fault.alert}: **{fault.severity}**, {fault.route}"
    return [
        fault.name, fault.how, alert, told, fault.cadence, f"`{fault.command}`", green,
        fault.compared,
    ]  # fmt: skip


def without_times(row: Sequence[str]) -> list[str]:
    """Return a row as it must be, whatever was measured."""
    return [cell for place, cell in enumerate(row) if place not in _TIMES]


def write(found: Iterable[tuple[Fault, Measured]]) -> None:
    """Put the table between its marks in the page."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(cells(*one)) + " |" for one in found]
    text = PAGE.read_text("utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(text[:begin] + "\n\n" + "\n".join(lines) + "\n\n" + text[end:], "utf-8")


def shown() -> list[list[str]]:
    """Return the rows that the page shows."""
    text = PAGE.read_text("utf-8")
    part = text[text.index(BEGIN) : text.index(END)]
    rows = [line.strip("| ") for line in part.splitlines() if line.startswith("|")]
    return [re.split(r" \| ", row) for row in rows[2:]]
