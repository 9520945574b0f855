"""`pipeline-platform dashboards`: Grafana dashboards, generated from the runbooks."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import PACKAGE
from pipeline_platform.commands.lake_tables import runbook_of
from pipeline_platform.commands.output import FOUND_FAULTS, console, errors, plain_failures
from pipeline_platform.operations.dashboards import dashboard

FOLDER = PACKAGE.parent / "docs" / "dashboards"


def dashboards(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if one is out of date.")
    ] = False,
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where they are.")] = FOLDER,
) -> None:
    """Write each pipeline's dashboard anew from its runbook (SW-55, SW-56, SW-57)."""
    with plain_failures():
        wanted = {
            folder / f"{name}.json": dashboard(runbook_of(name))
            for name in sorted(path.parent.name for path in PACKAGE.glob("*/runbook.yaml"))
        }
        stale = [
            path
            for path, content in wanted.items()
            if not path.exists() or path.read_text("utf-8") != content
        ]
        if check and stale:
            for path in stale:
                errors.print(f"{path} is not what its runbook says; write it anew.", markup=False)
            raise typer.Exit(FOUND_FAULTS)
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
            console.print(f"Written: {path}", markup=False, highlight=False, soft_wrap=True)
        if not stale:
            console.print("Every dashboard is what its runbook says.")
