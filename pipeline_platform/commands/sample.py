"""`pipeline-platform sample`: vendor files of accounts that live on real market prices."""

import csv
from dataclasses import astuple, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.advisory_performance.run_context import shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleArrivals,
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.commands.output import (
    console,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.progress import tracked
from pipeline_platform.web_events.samples.events import SampleEvents, SampleFault

app = typer.Typer(help="Sample arrivals for trying things, with faults on purpose.")


@app.callback()
def _group() -> None:
    """Keep `generate` a command of its own."""


@app.command()
def generate(
    accounts: int = typer.Option(10, help="Accounts per vendor."),
    days: int = typer.Option(300, help="Business days up to --end."),
    end: str = typer.Option("", help="Last day, YYYY-MM-DD; yesterday if not given."),
    fault_rate: float = typer.Option(0.001, help="Share of account-days and records with a fault."),
    file_faults: bool = typer.Option(True, help="One unreadable file of each kind, too."),
    corrections: bool = typer.Option(True, help="A later file per vendor that corrects values."),
    seed: int = 2026,
    to: Annotated[
        Path | None, typer.Option(help="Folder to write to; incoming/ if not given.")
    ] = None,
) -> None:
    """Write vendor files and, beside them, the ledger of what was injected."""
    with plain_failures(), services() as opened:
        request = SampleRequest(
            accounts=accounts,
            days=days,
            end=date.fromisoformat(end) if end else yesterday(),
            fault_rate=fault_rate,
            has_file_faults=file_faults,
            has_corrections=corrections,
            seed=seed,
        )
        with showing_progress():
            made = generate_arrivals(request, dict(shipped_mappings()))
            files = (*made.files, *made.corrections)
            if to is None:
                zone = opened.landing(PIPELINE)
                for file in tracked(files, "files"):
                    zone.put(file.name, file.content)
            else:
                to.mkdir(parents=True, exist_ok=True)
                for file in tracked(files, "files"):
                    (to / file.name).write_bytes(file.content)
        ledger = (to or opened.settings.home) / "sample_faults.csv"
        write_fault_ledger(made, ledger)
        where = str(to) if to else "incoming/"
        console.print(
            f"{len(files)} files with {made.account_day_count} "
            f"account-days in {where}; "
            f"{len(made.faults)} faults listed in {ledger}.",
            markup=False,
        )


def yesterday() -> date:
    """Return the day before today (UTC), the last one that can be complete."""
    return datetime.now(UTC).date() - timedelta(days=1)


def write_event_fault_ledger(made: SampleEvents, path: Path) -> None:
    """Write the faults of generated events as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(SampleFault))
        writer.writerows(astuple(fault) for fault in made.faults)


def write_fault_ledger(made: SampleArrivals, path: Path) -> None:
    """Write the injected faults as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["level", "kind", "expected", "vendor", "file_name", "account_id", "as_of_date"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(fault.as_row() for fault in made.faults)
