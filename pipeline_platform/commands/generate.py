"""`pipeline-platform generate`: what is made from the runbooks, and never by hand.

Dashboards, alert rules, and the tables of each pipeline's page; `make check` fails while one of
them is not what its runbook says.
"""

import csv
import json
from collections.abc import Sequence
from datetime import date, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import PACKAGE
from pipeline_platform.commands.last_change import changed_on
from pipeline_platform.commands.output import FOUND_FAULTS, console, errors, plain_failures
from pipeline_platform.operations import coverage
from pipeline_platform.operations.cloudwatch_template import template
from pipeline_platform.operations.dashboards import dashboard
from pipeline_platform.operations.plan import alertings, operations_plan, runbooks
from pipeline_platform.operations.prometheus_rules import rule_file
from pipeline_platform.operations.security import AUDIT_TRAIL_ROWS, ROTATION_ROWS, Aspect
from pipeline_platform.pipeline_folders import RUNBOOK, pipeline_folders
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook
from pipeline_platform.runbook_page import (
    OPERATING_PAGE,
    generated_blocks,
    new_page,
    updated_on,
    with_blocks,
)

ROOT = PACKAGE.parent
FOLDER = ROOT / "docs"


def generate(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if one is out of date.")
    ] = False,
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Where pages, dashboards and rules are.")
    ] = FOLDER,
) -> None:
    """Write anew what is made from the runbooks: pages, dashboards, alert rules (XC-1).

    Exit code 1 also if a row of the requirements has no limit, or a limit has no check, no test
    that makes it fail, no person, or no line that says what to do (B-1).
    """
    with plain_failures():
        faults, matrix = covered()
        wanted = {**generated_files(folder), folder / "coverage.md": matrix}
        stale = [path for path, text in wanted.items() if _present(path) != text]
        if check and stale:
            for path in stale:
                errors.print(
                    f"{path} is not what its runbook says; run `pipeline-platform generate`.",
                    markup=False,
                    soft_wrap=True,
                )
        elif not stale and not faults:
            console.print("Everything is what the runbooks say.")
        for fault in faults:
            errors.print(fault, markup=False, soft_wrap=True)
        for path in () if check else stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
            console.print(f"Written: {path}", markup=False, highlight=False, soft_wrap=True)
        if faults or (check and stale):
            raise typer.Exit(FOUND_FAULTS)


def generated_files(folder: Path) -> dict[Path, str]:
    """Return every generated file below a folder and what must be in it."""
    files = {}
    for name, alerting in alertings().items():
        files[folder / "prometheus" / f"{name}.yml"] = rule_file(alerting)
    for name, runbook in runbooks().items():
        files[folder / "dashboards" / f"{name}.json"] = dashboard(runbook)
        files[folder / "cloudwatch" / f"{name}.json"] = template(runbook)
        page = folder / f"{name}.md"
        own = own_runbook(name)
        text = _present(page) or new_page(own)
        day = updated_day(updated_on(text), changed_on(pipeline_folders()[name] / RUNBOOK))
        files[page] = with_blocks(text, generated_blocks(own, day))
    return files


def updated_day(told: date | None, changed: date | None) -> date:
    """Return the day that a page tells: of the last change, or as it does where Git knows none.

    A day too early or late is let be: a page is written before the commit that it is part of.
    """
    if changed is None or (told is not None and abs(told - changed) <= timedelta(days=1)):
        changed = told or changed
    return changed or utc_now().date()


def covered() -> tuple[list[str], str]:
    """Return every hole between a row of the requirements and a person, and the matrix (B-1)."""
    found = coverage.answers(alertings(), evidence())
    rows, pipelines = requirement_rows(), list(runbooks())
    return coverage.holes(rows, found, pipelines), coverage.page(rows, found, pipelines)


def requirement_rows() -> list[coverage.Row]:
    """Return the rows of the requirements that name a threshold."""
    return [coverage.Row(**one) for one in _table(FOLDER / "requirement_rows.csv")]


def evidence() -> coverage.Evidence:
    """Return which checks Dagster declares, which limits tests cross, and the page of remedies."""
    crossings = [
        coverage.Crossing(one["pipeline"], one["threshold"], one["severity"], one["outside"])
        for one in _table(ROOT / "tests" / "unit" / "quality" / "crossings.csv")
    ]
    declared = json.loads((ROOT / "tests" / "platform" / "definitions.json").read_text("utf-8"))
    lines = _table(ROOT / "tests" / "unit" / "operations" / "routes.csv")
    return coverage.Evidence(
        declared["checks"],
        crossings,
        (ROOT / OPERATING_PAGE).read_text("utf-8"),
        routes={(one["pipeline"], one["route"]): one["told"] for one in lines},
        outside_tests=(ROOT / coverage.OUTSIDE_TESTS).read_text("utf-8"),
        security=security_limits(),
    )


def security_limits() -> list[coverage.SecurityLimit]:
    """Return what the security review holds secrets and audit trails to, and what tests cross."""
    lines = _table(ROOT / "tests" / "unit" / "operations" / "security_limits.csv")
    outside = {one["aspect"]: str(timedelta(seconds=int(one["outside_seconds"]))) for one in lines}
    plan = operations_plan().security
    wanted: list[tuple[Aspect, str, str, Sequence[str]]] = [
        ("rotation", "secrets", f"at most {plan.rotated_days} days old", ROTATION_ROWS),
        (
            "audit trail",
            "trails",
            f"delivered within {plan.delivered_hours} hours",
            AUDIT_TRAIL_ROWS,
        ),
    ]
    return [
        coverage.SecurityLimit(
            aspect, listed, must_be, plan.routes[aspect], rows, outside.get(aspect)
        )
        for aspect, listed, must_be, rows in wanted
    ]


def own_runbook(pipeline: str) -> Runbook:
    """Return a pipeline's runbook as its own model, which words its own rulings, if it has one."""
    module = f"pipeline_platform.{pipeline}.run_context"
    if find_spec(module) is None:
        return runbooks()[pipeline]
    loaded: Runbook = import_module(module).load_runbook()
    return loaded


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _present(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None
