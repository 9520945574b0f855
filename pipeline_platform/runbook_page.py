"""What a pipeline's page says of its runbook: tables generated from it, kept between markers.

Pure: text in, text out. `pipeline-platform generate` writes the blocks anew, and `make check` fails
while a page says another number than the checks use.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import get_args

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.quality.thresholds import Band, Remedy, Threshold
from pipeline_platform.runbook import Freshness, Runbook, Schedule, Sensor
from pipeline_platform.settings import Environment

OPERATING_PAGE = "docs/operating.md"
CHECKS_PAGE = f"{OPERATING_PAGE}#what-you-see-what-to-do"
"""Where each check by its name has a row that says what it means and what to do (XC-1)."""
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)
UPDATED = "updated"
_UPDATED = re.compile(r"^Runbook last updated (?P<day>\d{4}-\d\d-\d\d) ", re.MULTILINE)
_BLOCK = re.compile(
    r"<!-- generated: (?P<name>[a-z-]+) -->\n.*?<!-- end of generated: (?P=name) -->", re.DOTALL
)


def generated_blocks(runbook: Runbook, updated: date) -> dict[str, str]:
    """Return every generated block as Markdown, by the name that its markers carry.

    `updated` is the day on which the runbook was changed last.
    """
    made = {name: make(runbook) for name, make in _BLOCKS.items()}
    return {UPDATED: updated_line(runbook, updated), **made}


def updated_line(runbook: Runbook, updated: date) -> str:
    """Say when the runbook was changed last, and by when somebody looks at it again (SA-101)."""
    every = runbook.review.every_days
    return (
        f"Runbook last updated {updated} (as Git has it); looked over every {every} days, next by "
        f"{updated + timedelta(days=every)}."
    )


def updated_on(page: str) -> date | None:
    """Return the day that a page says its runbook was updated on; None if it says none."""
    found = _UPDATED.search(page)
    return date.fromisoformat(found["day"]) if found else None


def with_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with each marked block replaced by its present content.

    A block begins with `<!-- generated: NAME -->` and ends with `<!-- end of generated: NAME -->`,
    each on a line of its own. Raises InvalidRunbookError for a marked block that nothing makes.
    """

    def filled(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in blocks:
            raise InvalidRunbookError(
                f"The page marks the block {name!r}, which nothing generates; use one of "
                f"{', '.join(blocks)}."
            )
        return f"<!-- generated: {name} -->\n\n{blocks[name]}\n\n<!-- end of generated: {name} -->"

    return _BLOCK.sub(filled, page)


def new_page(runbook: Runbook) -> str:
    """Return the page of a pipeline that has none yet: every block, not filled, below a heading."""
    lines = [f"# {runbook.title}", "", runbook.description.strip(), ""]
    lines += [f"<!-- generated: {UPDATED} -->", f"<!-- end of generated: {UPDATED} -->", ""]
    for name in _BLOCKS:
        lines += [f"## {name.capitalize()}", "", f"<!-- generated: {name} -->"]
        lines += [f"<!-- end of generated: {name} -->", ""]
    return "\n".join(lines)


def block_names(page: str) -> list[str]:
    """Return the names of the blocks that a page marks, in order."""
    return [found["name"] for found in _BLOCK.finditer(page)]


def thresholds_table(runbook: Runbook) -> str:
    """Return one row per band of each threshold, the most severe first, in the runbook's order."""
    head = (
        *("check", "must be", "severity", "answer within", "route"),
        *("window", "least sample", "asset", "requirements"),
    )
    return markdown_table(
        head,
        (
            (
                f"`{threshold.name}`",
                wanted(band, threshold) + _marks(band, threshold),
                band.severity,
                duration(band.response_minutes),
                band.route,
                _window(threshold),
                str(threshold.minimum_sample),
                threshold.asset.removeprefix(f"{runbook.pipeline}/"),
                ", ".join(threshold.requirements),
            )
            for threshold in runbook.thresholds.values()
            for band in threshold.severest_first
        ),
    )


def measures_table(runbook: Runbook) -> str:
    """Return what each threshold measures, in words."""
    return markdown_table(
        ("check", "title", "what is measured"),
        ((f"`{one.name}`", one.title, one.measure) for one in runbook.thresholds.values()),
    )


def routes_table(runbook: Runbook) -> str:
    """Return each route with its severity, ladder of contacts, channels and command (SA-100)."""
    return markdown_table(
        ("route", "when", "severity", "who, in this order", "channels", "command", "requirements"),
        (
            (
                name,
                route.title,
                route.severity,
                ", ".join(runbook.contacts[contact].title for contact in route.ladder),
                ", ".join(route.channels),
                f"`{command_of(route.remedy, runbook.pipeline)}`",
                ", ".join(route.requirements),
            )
            for name, route in runbook.routes.items()
        ),
    )


def starts_table(runbook: Runbook) -> str:
    """Return every schedule and sensor, when it starts and where it is on."""
    nightly = [("mutations", runbook.mutations)] if runbook.mutations else []
    rows = [
        (f"`{runbook.pipeline}_{name}`", one.title, f"`{one.cron}` {one.timezone}", *_where(one))
        for name, one in (*runbook.schedules.items(), *runbook.reports.pages.items(), *nightly)
    ]
    rows += [
        (f"sensor `{name}`", one.title, f"every {one.interval_seconds} s", *_where(one))
        for name, one in runbook.sensors.items()
    ]
    return markdown_table(("name", "what", "when", *ENVIRONMENTS), rows)


def freshness_table(runbook: Runbook) -> str:
    """Return the freshness that each asset is held to."""
    return markdown_table(
        ("asset", "must be", "requirements"),
        (
            (f"`{asset}`", _freshness(one), ", ".join(one.requirements))
            for asset, one in runbook.freshness.items()
        ),
    )


def rulings_table(runbook: Runbook) -> str:
    """Return the rulings as the pipeline words them, one a row."""
    return markdown_table(("ruling", "value"), runbook.rulings.in_words())


def wanted(band: Band, threshold: Threshold) -> str:
    """Say in words what a value must be to keep a band."""
    if threshold.direction == "between":
        ends = "ends included" if band.is_inclusive else "ends excluded"
        return f"{band.limit:g} to {band.upper_limit:g} {threshold.unit} ({ends})"
    words = {
        ("at_least", True): "at least",
        ("at_least", False): "more than",
        ("at_most", True): "at most",
        ("at_most", False): "less than",
    }
    return f"{words[threshold.direction, band.is_inclusive]} {band.limit:g} {threshold.unit}"


def command_of(remedy: Remedy, pipeline: str) -> str:
    """Return the command of a remedy, with what only an incident knows in capitals."""
    return remedy.filled(pipeline=pipeline, asset="ASSET", run="RUN").command


def _marks(band: Band, threshold: Threshold) -> str:
    marks = []
    if threshold.is_blocking and band.severity == "critical":
        marks.append("blocks")
    if threshold.is_proposed:
        marks.append("proposed")
    return f" ({', '.join(marks)})" if marks else ""


def _window(threshold: Threshold) -> str:
    groups = f", per {' and '.join(threshold.per)}" if threshold.per else ""
    return threshold.window + groups


def duration(minutes: int) -> str:
    """Say how long somebody has to answer."""
    if minutes == 0:
        return "at once"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _where(started: Schedule | Sensor) -> tuple[str, ...]:
    return tuple("on" if started.is_running(place) else "off" for place in ENVIRONMENTS)


def _freshness(given: Freshness) -> str:
    if given.deadline_cron is not None:
        return (
            f"materialized within {duration(given.lower_bound_minutes or 0)} before "
            f"`{given.deadline_cron}` {given.timezone}"
        )
    warning = f", warned after {duration(given.warn_minutes)}" if given.warn_minutes else ""
    return f"at most {duration(given.fail_minutes or 0)} old{warning}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


_BLOCKS: Mapping[str, Callable[[Runbook], str]] = {
    "thresholds": thresholds_table,
    "measures": measures_table,
    "routes": routes_table,
    "schedules": starts_table,
    "freshness": freshness_table,
    "rulings": rulings_table,
}
