"""`pipeline-platform landing`: what lies where, take what waits, drop a file (SA-17 to SA-20)."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    TRY_AGAIN,
    AsJson,
    console,
    plain_failures,
    progress,
    services,
)
from pipeline_platform.commands.pipelines import ADVISORY, Pipeline, intake_of
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.ingestion.files import FileOutcome, ingest_arrivals, landing_of
from pipeline_platform.ingestion.withdrawal import read_anew, withdraw_file
from pipeline_platform.landing.claimed_file import Folder
from pipeline_platform.operations.incident_store import mend_fault
from pipeline_platform.run_context import utc_now

app = typer.Typer(help="The landing zone: incoming, processing, archive, quarantine.")


@app.command("list")
def list_folder(
    pipeline: Annotated[str, typer.Argument(help="Its name or the beginning of it.")],
    folder: Annotated[Folder, typer.Argument(help="The folder to list.")],
    tail: Annotated[int | None, typer.Option(min=1, help="Only the newest n.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a folder of the landing zone, oldest first (SA-17, SA-18, SA-19)."""
    with plain_failures(), services() as opened:
        zone = opened.landing(pipeline_named(pipeline))
        found = zone.list(folder, tail=tail)
        rows = [
            {"file": one.key, "bytes": one.size_bytes, "since (UTC)": one.modified_at}
            for one in found
        ]
        show_rows(f"{zone.pipeline}: {folder}", rows, as_json=as_json, empty="no files.")
        if rows and not as_json:
            total = sum(one.size_bytes for one in found)
            console.print(f"{len(found)} files, {total:,} bytes.", highlight=False)


@app.command()
def put(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Local files to deliver.")
    ],
    pipeline: Pipeline = ADVISORY,
) -> None:
    """Drop files into incoming/ of a pipeline, as who delivers them would."""
    with plain_failures(), services() as opened:
        zone = opened.landing(pipeline_named(pipeline))
        for file in files:
            zone.put(file.name, file)
        where = zone.location("incoming")
        console.print(f"{len(files)} files in {where}.", markup=False, highlight=False)


@app.command()
def ingest(pipeline: Pipeline = ADVISORY, as_json: AsJson = False) -> None:
    """Take to bronze what waits now; exit code 1 if a file was refused, 75 if one must wait.

    A failed run of the pipeline's ingest is thereby made good, and its incident ends.
    """
    with plain_failures(), services() as opened:
        intake = intake_of(opened, pipeline)
        waiting = len(landing_of(intake).list("incoming"))
        outcomes: list[FileOutcome] = []
        started = time.perf_counter()
        with (
            acting(opened, "ingest", pipeline_named(pipeline)) as action,
            progress("Landing to bronze", waiting, as_json=as_json) as bar,
        ):
            for outcome in ingest_arrivals(intake):
                outcomes.append(outcome)
                seconds = time.perf_counter() - started
                rows = sum(one.published_rows for one in outcomes)
                bar.update(
                    bar.task_ids[0],
                    advance=1,
                    total=max(waiting, len(outcomes)),
                    rate=f"{rows:,} rows, {rows / seconds:,.0f}/s",
                )
            action.state_before = {"waiting": waiting}
            action.state_after = Counter(one.status for one in outcomes)
        show_outcomes("Files", outcomes, as_json=as_json, empty="none was waiting.")
        code = exit_code(outcomes)
        if code != TRY_AGAIN:
            with opened.database.transaction() as connection:
                name = pipeline_named(pipeline)
                mend_fault(connection, name, f"run:{name}_ingest", utc_now())
    raise typer.Exit(code)


@app.command()
def withdraw(
    sha256: Annotated[str, typer.Argument(help="The file's hash, or the beginning of it.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the file.")],
    pipeline: Pipeline = ADVISORY,
) -> None:
    """Take a published file back out of bronze into quarantine, and request its partitions."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline)
        with acting(opened, "withdraw", f"{name} {sha256}", reason=reason) as action:
            partitions = withdraw_file(intake_of(opened, pipeline), sha256, reason)
            action.state_after = {"partitions requested": list(partitions)}
        console.print(f"Withdrawn. To process again: {', '.join(partitions) or 'nothing'}.")


@app.command()
def reread(
    sha256: Annotated[str, typer.Argument(help="The file's hash, or the beginning of it.")],
    pipeline: Pipeline = ADVISORY,
    as_json: AsJson = False,
) -> None:
    """Read a published file again with its mapping as it is now, and request its partitions."""
    with plain_failures(), services() as opened:
        with acting(opened, "reread", f"{pipeline_named(pipeline)} {sha256}") as action:
            outcome = read_anew(intake_of(opened, pipeline), sha256)
            action.state_after = {"status": outcome.status, "rows": outcome.published_rows}
        show_outcomes("Files", [outcome], as_json=as_json)


def show_outcomes(
    title: str, outcomes: Sequence[FileOutcome], *, as_json: bool, empty: str = "none."
) -> None:
    """Print what became of each file; people see one by one only those that were not published."""
    rows = [
        {
            "file": one.name,
            "outcome": one.status,
            "vendor": one.vendor,
            "rows": one.published_rows,
            "quarantined rows": one.quarantined_rows,
            "partitions": list(one.partitions),
            "reason": one.reason,
        }
        for one in outcomes
    ]
    if as_json or not rows:
        show_rows(title, rows, as_json=as_json, empty=empty)
        return
    shown = ("file", "outcome", "reason")
    left = [{name: row[name] for name in shown} for row in rows if row["outcome"] != "published"]
    if left:
        show_rows(f"{title}: not published", left, as_json=False)
    counts = Counter(one.status for one in outcomes)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    records = sum(one.published_rows for one in outcomes)
    refused = sum(one.quarantined_rows for one in outcomes)
    console.print(
        f"{title}: {summary}; {records:,} rows published, {refused:,} quarantined.",
        highlight=False,
    )


def exit_code(outcomes: Sequence[FileOutcome]) -> int:
    """Return 1 if a file was refused, 75 if one was left waiting, else 0."""
    statuses = {one.status for one in outcomes}
    if statuses & {"quarantined", "refused"}:
        return FOUND_FAULTS
    return TRY_AGAIN if "left_waiting" in statuses else 0
