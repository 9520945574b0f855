"""`pipeline-platform generate`: what is made from the runbooks, and never by hand.

Dashboards, alert rules, and the tables of each pipeline's page; `make check` fails while one of
them is not what its runbook says.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import PACKAGE
from pipeline_platform.commands.output import FOUND_FAULTS, console, errors, plain_failures
from pipeline_platform.operations.dashboards import dashboard
from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.operations.prometheus_rules import rule_file
from pipeline_platform.runbook import Runbook
from pipeline_platform.runbook_page import generated_blocks, new_page, with_blocks

FOLDER = PACKAGE.parent / "docs"


def generate(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if one is out of date.")
    ] = False,
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Where pages, dashboards and rules are.")
    ] = FOLDER,
) -> None:
    """Write anew what is made from the runbooks: pages, dashboards, alert rules (XC-1)."""
    with plain_failures():
        wanted = generated_files(folder)
        stale = [path for path, text in wanted.items() if _present(path) != text]
        if check and stale:
            for path in stale:
                errors.print(
                    f"{path} is not what its runbook says; run `pipeline-platform generate`.",
                    markup=False,
                    soft_wrap=True,
                )
            raise typer.Exit(FOUND_FAULTS)
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
            console.print(f"Written: {path}", markup=False, highlight=False, soft_wrap=True)
        if not stale:
            console.print("Everything is what the runbooks say.")


def generated_files(folder: Path) -> dict[Path, str]:
    """Return every generated file below a folder and what must be in it."""
    files = {}
    for name, alerting in alertings().items():
        files[folder / "prometheus" / f"{name}.yml"] = rule_file(alerting)
    for name, runbook in runbooks().items():
        files[folder / "dashboards" / f"{name}.json"] = dashboard(runbook)
        page = folder / f"{name}.md"
        own = own_runbook(name)
        files[page] = with_blocks(_present(page) or new_page(own), generated_blocks(own))
    return files


def own_runbook(pipeline: str) -> Runbook:
    """Return a pipeline's runbook as its own model, which words its own rulings, if it has one."""
    module = f"pipeline_platform.{pipeline}.run_context"
    if find_spec(module) is None:
        return runbooks()[pipeline]
    loaded: Runbook = import_module(module).load_runbook()
    return loaded


def _present(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None
