"""`pipeline-platform quarantine`: what is held and why, replay it or give it up (XC-6, B-9)."""

import uuid
from collections import Counter
from datetime import date
from functools import partial
from typing import Annotated, Literal

import typer

from pipeline_platform.advisory_performance.replay import Selection, preview_replay, replay
from pipeline_platform.advisory_performance.run_context import RunContext, shipped_mappings
from pipeline_platform.advisory_performance.vendors import load_mappings
from pipeline_platform.commands.arguments import Limit, Vendor, parse_month, pipeline_named
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.file_replay import replay_pipeline
from pipeline_platform.commands.job_runs import WorkflowEnd, together
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.partitions import Anyway, process_waiting
from pipeline_platform.commands.pipelines import ADVISORY, Pipeline
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.commands.replay_output import as_document, show_preview, show_replayed
from pipeline_platform.commands.vendor import Mappings
from pipeline_platform.failures import BadInputError
from pipeline_platform.quality.issues import Issue, record_issue
from pipeline_platform.quality.quarantine import (
    HeldRow,
    State,
    discard_rows,
    list_rows,
    show_row,
)
from pipeline_platform.quality.quarantined_files import (
    HeldFile,
    list_files,
    resolve_file,
    show_file,
)
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import Connection

app = typer.Typer(help="Records and files that were held back.")
Rule = Annotated[str | None, typer.Option(help="Only what this rule refused.")]
OfFile = Annotated[
    str | None, typer.Option("--file", help="Only this file: its hash, or the beginning of it.")
]
Month = Annotated[
    date | None, typer.Option(parser=parse_month, metavar="YYYY-MM", help="Only this month.")
]
Kind = Literal["all", "rows", "files"]
AnyState = Literal["HELD", "REPLAYED", "DISCARDED", "ALL"]


@app.command("list")
def list_held(
    vendor: Vendor = None,
    rule: Rule = None,
    file: OfFile = None,
    month: Month = None,
    pipeline: Pipeline = ADVISORY,
    kind: Annotated[Kind, typer.Option(help="Records, whole files, or both.")] = "all",
    state: Annotated[AnyState, typer.Option(help="What became of it.")] = "HELD",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List held records and files, the newest first; a record's id is a number, a file's a hash."""
    chosen, name = _selection(vendor, rule, file, month), pipeline_named(pipeline)
    wanted: State | None = None if state == "ALL" else state
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        rows: list[dict[str, object]] = []
        if kind != "rows" and month is None:
            rows += [_file_row(one) for one in _files(connection, name, chosen, wanted)][:limit]
        if kind != "files":
            rows += [_record_row(one) for one in _rows(connection, name, chosen, wanted, limit)]
    show_rows("Quarantine", rows[:limit], as_json=as_json, empty="nothing is held.")
    if len(rows) >= limit:
        errors.print(f"Only the first {limit} are shown; --limit shows more.")


@app.command()
def show(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="A record's number, a file's hash.")
    ],
    pipeline: Pipeline = ADVISORY,
    as_json: AsJson = False,
) -> None:
    """Show one held record or file, with its reason and its text."""
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        name = pipeline_named(pipeline)
        if _is_number(identity):
            held = show_row(connection, name, int(identity))
            facts: dict[str, object] = {
                **_record_row(held),
                "hop": held.row.hop,
                "sha256": held.row.file_sha256,
                "column": held.row.column_name,
                "run": held.row.run_id,
                "resolved (UTC)": held.resolved_at,
                "resolution": held.resolution,
                "record": held.row.record,
            }
        else:
            found = show_file(connection, name, identity)
            facts = {
                **_file_row(found),
                "sha256": found.file_sha256,
                "location": found.location,
                "resolved (UTC)": found.resolved_at,
            }
        show_facts(f"Quarantine: {identity}", facts, as_json=as_json)


@app.command("replay")
def replay_held(
    vendor: Vendor = None,
    rule: Rule = None,
    file: OfFile = None,
    month: Month = None,
    pipeline: Pipeline = ADVISORY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    mappings: Mappings = None,
    process: Annotated[
        bool, typer.Option("--process", help="Process the months or days at once, to the end.")
    ] = False,
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Read and judge again what is held, after a mapping or a rule was mended (XC-6, B-9).

    The exit code is 1 if something is still refused, or would be.
    """
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        chosen = _selection(vendor, rule, file, month)
        if mappings is not None and not dry_run:
            raise BadInputError(
                "Other mappings can only be tried with --dry-run: what is processed later would "
                "use the shipped ones. Put them into vendors/ or sources/ first."
            )
        name = pipeline_named(pipeline)
        if name != ADVISORY:
            with acting(opened, "replay", f"{name} {chosen.in_words}", dry_run=dry_run):
                is_good = replay_pipeline(
                    opened,
                    name,
                    chosen,
                    mappings,
                    dry_run=dry_run,
                    process=partial(_process, opened, name, anyway=anyway) if process else None,
                    as_json=as_json,
                )
            raise typer.Exit(0 if is_good else FOUND_FAULTS)
        run = RunContext(
            opened,
            f"cli-{uuid.uuid4()}",
            mappings=load_mappings(mappings) if mappings else shipped_mappings(),
        )
        preview = preview_replay(run, chosen, moves=dry_run)
        if not as_json:
            show_preview(preview)
        done, ended = None, None
        if not dry_run and not preview.changes_nothing:
            with acting(opened, "replay", f"{name} {chosen.in_words}") as action:
                done = replay(run, preview)
                ended = _process(opened, name, anyway=anyway) if process else None
                action.state_after = Counter(one.status for one in done.outcomes)
        if as_json:
            show_facts("Replay", as_document(preview, done, ended), as_json=True)
        elif done is not None:
            show_replayed(done, ended)
    still_held = bool(preview.failing_rows or preview.failing_files or preview.objections)
    still_held |= done is not None and any(one.status != "published" for one in done.outcomes)
    still_held |= ended is not None and not ended.is_fine
    raise typer.Exit(FOUND_FAULTS if still_held else 0)


@app.command()
def discard(
    identities: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Records' numbers, files' hashes.")
    ],
    reason: Annotated[str, typer.Option(help="Why they are given up; it is kept.")],
    pipeline: Pipeline = ADVISORY,
) -> None:
    """Give held records and files up for good; they stay counted as quarantined."""
    with plain_failures(), services() as opened:
        if not reason.strip():
            raise BadInputError("A reason is needed to discard; say why after --reason.")
        numbers = [int(one) for one in identities if _is_number(one)]
        hashes = [one for one in identities if not _is_number(one)]
        name = pipeline_named(pipeline)
        target = f"{name} {' '.join(identities)}"
        with (
            acting(opened, "discard", target, reason=reason),
            opened.database.transaction() as connection,
        ):
            if numbers:
                discard_rows(connection, name, numbers, resolution=reason, now=utc_now())
            for sha256 in hashes:
                _discard_file(connection, show_file(connection, name, sha256), reason)
        console.print(f"Discarded: {len(numbers)} records, {len(hashes)} files.", highlight=False)


def _selection(
    vendor: str | None, rule: str | None, file: str | None, month: date | None
) -> Selection:
    return Selection(vendor, rule, file, month.isoformat() if month else None)


def _is_number(identity: str) -> bool:
    """Tell a record's number from a hash: a hash of digits only must be given in full."""
    return identity.isdecimal() and identity.isascii() and len(identity) < 19


def _rows(
    connection: Connection, pipeline: str, chosen: Selection, state: State | None, limit: int
) -> list[HeldRow]:
    return list_rows(
        connection,
        pipeline,
        state=state,
        file_sha256=chosen.file_sha256,
        rule=chosen.rule,
        vendor=chosen.vendor,
        partition_key=chosen.partition_key,
        limit=limit,
    )


def _files(
    connection: Connection, pipeline: str, chosen: Selection, state: State | None
) -> list[HeldFile]:
    return [
        one
        for one in list_files(connection, pipeline, state=state, limit=None)
        if chosen.vendor in (None, one.vendor)
        and chosen.rule in (None, one.rule)
        and one.file_sha256.startswith(chosen.file_sha256 or "")
    ]


def _record_row(held: HeldRow) -> dict[str, object]:
    row = held.row
    return {
        "id": str(held.quarantine_id),
        "kind": "record",
        "vendor": row.vendor,
        "file": row.file_name,
        "line": row.line_number,
        "month": row.partition_key[:7] or None,
        "rule": row.rule,
        "reason": row.reason,
        "state": held.state,
        "since (UTC)": held.quarantined_at,
    }


def _file_row(held: HeldFile) -> dict[str, object]:
    return {
        "id": held.file_sha256[:12],
        "kind": "file",
        "vendor": held.vendor,
        "file": held.file_name,
        "line": None,
        "month": None,
        "rule": held.rule,
        "reason": held.reason,
        "state": held.state,
        "since (UTC)": held.quarantined_at,
    }


def _process(opened: Services, pipeline: str, *, anyway: bool) -> WorkflowEnd | None:
    ended = list(process_waiting(opened, pipeline, anyway=anyway))
    return together(ended) if ended else None


def _discard_file(connection: Connection, file: HeldFile, reason: str) -> None:
    resolve_file(connection, file.pipeline, file.file_sha256, state="DISCARDED", now=utc_now())
    connection.execute(
        "UPDATE data_quality_issues SET resolved_at = %s WHERE pipeline = %s"
        " AND issue_type = 'file' AND file_sha256 = %s AND resolved_at IS NULL",
        (utc_now(), file.pipeline, file.file_sha256),
    )
    record_issue(
        connection,
        Issue(
            pipeline=file.pipeline,
            severity="info",
            issue_type="discarded",
            rule=file.rule,
            file_name=file.file_name,
            file_sha256=file.file_sha256,
            description=f"The file was discarded: {reason}",
        ),
        now=utc_now(),
    )
