"""`pipeline-platform optimize` and `maintenance`: the lake's tables kept in order."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Literal

import typer

from pipeline_platform.commands.arguments import Limit, parse_day, pipeline_named
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.lake_tables import runbook_of, table_named, tables_of
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.pipelines import ADVISORY
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.lineage import foreign_commits
from pipeline_platform.lake.orphans import Doomed
from pipeline_platform.operations.maintenance import OPERATIONS, Maintainer, Operation, Report
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.progress import tracked
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.default_partition import StrayMonth, drain_month, stray_months
from pipeline_platform.warehouse.maintenance_log import (
    Effect,
    recent_maintenance,
    record_end,
    record_start,
)

app = typer.Typer(help="All maintenance of a pipeline's tables, and what was done before.")

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Noun, or pipeline/layer/noun.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Partition = Annotated[
    date | None,
    typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Only this partition."),
]
Type = Annotated[
    Literal["compaction", "statistics", "expiry", "orphans", "all"],
    typer.Option(
        "--type",
        help="Merge small files, count values, forget old snapshots, remove orphaned files.",
    ),
]


def optimize(
    table: Table,
    kind: Type = "compaction",
    partition: Annotated[
        list[date] | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Compact only these."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put one table's files in order (SW-35); exit code 1 if something failed."""
    with plain_failures(), services() as opened:
        named = table_named(table)
        operations: tuple[Operation, ...] = OPERATIONS if kind == "all" else (kind,)
        target = f"{'/'.join(named.asset_key)}, {kind}"
        with (
            acting(opened, "optimize", target, dry_run=dry_run),
            maintainer_of(opened, named.pipeline) as maintainer,
            showing_progress(as_json=as_json),
        ):
            reports = list(
                maintainer.maintain(
                    [named], operations, partitions=partition or None, dry_run=dry_run
                )
            )
        _show("/".join(named.asset_key), reports, dry_run=dry_run, as_json=as_json)


@app.command("run")
def run(
    pipeline: Annotated[str, typer.Argument(help="Or the beginning of its name.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do now what the pipeline's schedule does: all tables, then temporary files (SW-34, SA-42)."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline)
        with (
            acting(opened, "maintain", name, dry_run=dry_run),
            maintainer_of(opened, name) as maintainer,
            showing_progress(as_json=as_json),
        ):
            reports = [
                *maintainer.maintain(tables_of(name), dry_run=dry_run),
                maintainer.clean_up(dry_run=dry_run),
            ]
        _show(name, reports, dry_run=dry_run, as_json=as_json)


@app.command("drain")
def drain(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Move rows of PostgreSQL's default partitions to partitions of their months (SA-35, B-13)."""
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        with opened.database.connection() as connection:
            found = stray_months(connection)
        rows = []
        with acting(opened, "drain", "default partitions", dry_run=dry_run) as action:
            for one in tracked(found, "months"):
                moved = None if dry_run else _drain(opened, one)
                rows.append(
                    {
                        "table": one.table,
                        "month": f"{one.month:%Y-%m}",
                        "rows": one.rows if moved is None else moved,
                        "partition": one.partition,
                    }
                )
            action.state_after = {"rows moved": sum(one.rows for one in found)}
        title = "Would be moved" if dry_run else "Moved to partitions of their own"
        show_rows(title, rows, as_json=as_json, empty="nothing, default partitions are empty.")


def _drain(opened: Services, stray: StrayMonth) -> int:
    """Drain a month, and keep in the log that it was done, or why not."""
    with opened.database.transaction() as connection:
        number = record_start(connection, ADVISORY, stray.table, "drain", f"cli-{uuid.uuid4()}")
    try:
        moved = drain_month(opened.database, stray)
    except PlatformError as error:
        with opened.database.transaction() as connection:
            record_end(connection, number, "FAILED", Effect(message=str(error)))
        raise
    effect = Effect(message=f"{moved} rows moved to {stray.partition}.", proof={"rows": moved})
    with opened.database.transaction() as connection:
        record_end(connection, number, "DONE", effect)
    return moved


@app.command("log")
def log(
    pipeline: Annotated[str | None, typer.Argument(help="Or the beginning of its name.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what maintenance and restoration did, the newest first."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline) if pipeline else None
        with opened.database.connection() as connection:
            rows = recent_maintenance(connection, name, limit)
        show_rows("Maintenance", rows, as_json=as_json, empty="none was done.")


@app.command("foreign")
def foreign(
    pipeline: Annotated[str, typer.Argument(help="Or the beginning of its name.")],
    as_json: AsJson = False,
) -> None:
    """List what somebody changed in the lake past the platform; exit code 1 if anything.

    With each the command that takes it back. What was restored since is left out.
    """
    with plain_failures(), services() as opened:
        tables = tables_of(pipeline_named(pipeline))
        rows = [
            {
                "table": "/".join(table.asset_key),
                "at (UTC)": commit.publication.committed_at,
                "partition": str(partition),
                "rows added": change.rows_added,
                "rows removed": change.rows_removed,
                "command": f"pipeline-platform restore {'/'.join(table.asset_key)}"
                + (f" --partition {partition}" if table.partition_by else "")
                + f" --snapshot {commit.parent_id}",
            }
            for table in tables
            for commit in foreign_commits(opened.lake, table)
            for partition, change in commit.changes.items()
        ]
        show_rows("Not made by any run", rows, as_json=as_json, empty="nothing.")
    raise typer.Exit(FOUND_FAULTS if rows else 0)


@contextmanager
def maintainer_of(opened: Services, pipeline: str) -> Iterator[Maintainer]:
    """Lend what maintains a pipeline's tables, for one command."""
    with open_instance(opened.settings) as instance:
        yield Maintainer(
            services=opened,
            runbook=runbook_of(pipeline),
            run_id=f"maintenance-{uuid.uuid4().hex[:12]}",
            unfinished_runs=lambda: unfinished_runs(instance),
            clock=utc_now,
            lock_wait_seconds=30,
        )


def _show(title: str, reports: list[Report], *, dry_run: bool, as_json: bool) -> None:
    rows = [
        {
            "table": one.table,
            "operation": one.operation,
            "files before": one.effect.files_before,
            "files after": one.effect.files_after,
            "bytes before": one.effect.bytes_before,
            "bytes after": one.effect.bytes_after,
            "what": one.failure or one.effect.message,
            **({"files": [_file(file) for file in one.files]} if as_json else {}),
        }
        for one in reports
    ]
    head = f"{title}: would be done" if dry_run else f"{title}: done"
    show_rows(head, rows, as_json=as_json, empty="nothing, no table exists yet.")
    files = [_file(file) for one in reports for file in one.files]
    if files and not as_json:
        show_rows("Files to go" if dry_run else "Files that went", files, as_json=False)
    if any(one.failure for one in reports):
        errors.print("Not everything was done; see above.")
        raise typer.Exit(FOUND_FAULTS)


def _file(file: Doomed) -> dict[str, object]:
    return {
        "path": file.path,
        "bytes": file.size_bytes,
        "written (UTC)": file.modified_at,
        "why": file.reason,
    }
