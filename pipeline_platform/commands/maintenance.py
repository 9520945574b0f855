"""`pipeline-platform optimize`, `restore`, `backup` and `maintenance`: tables kept and mended."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Annotated, Literal

import typer

from pipeline_platform.commands.arguments import Limit, parse_day, parse_instant, pipeline_named
from pipeline_platform.commands.lake_tables import runbook_of, table_named, tables_of
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.lake.backup import Backup, back_up
from pipeline_platform.lake.expiry import snapshot_as_of
from pipeline_platform.lake.orphans import Doomed
from pipeline_platform.lake.restoration import (
    compare_with_backup,
    compare_with_snapshot,
    restore_from_backup,
    restore_from_snapshot,
)
from pipeline_platform.operations.maintenance import OPERATIONS, Maintainer, Operation, Report
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.services import Services
from pipeline_platform.warehouse.maintenance_log import Effect, recent_maintenance

app = typer.Typer(help="All maintenance of a pipeline's tables, and what was done before.")
backup_app = typer.Typer(help="Copies of lake tables that stand alone.")

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
        with (
            _maintainer(opened, named.pipeline) as maintainer,
            showing_progress(as_json=as_json),
        ):
            reports = list(
                maintainer.maintain(
                    [named], operations, partitions=partition or None, dry_run=dry_run
                )
            )
        _show("/".join(named.asset_key), reports, dry_run=dry_run, as_json=as_json)


def restore(
    table: Table,
    partition: Partition = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="As readers saw it then."),
    ] = None,
    snapshot: Annotated[int | None, typer.Option(help="As it was in this snapshot.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FOLDER", help="As it is in this backup.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make one partition, or a whole table, what it was, in one atomic commit (SW-53)."""
    with plain_failures(), services() as opened:
        if sum(one is not None for one in (as_of, snapshot, source)) != 1:
            raise BadInputError("Say what to restore: one of --as-of, --snapshot and --from.")
        named, lake = table_named(table), opened.lake
        title = f"{'/'.join(named.asset_key)}, {partition or 'the whole table'}"
        with (
            _maintainer(opened, named.pipeline) as maintainer,
            maintainer.locked(named),
            showing_progress(as_json=as_json),
        ):
            backup = None if source is None else Backup.open(source, opened.settings)
            wanted = 0
            if backup is None:
                iceberg = lake.iceberg(named)
                wanted = (
                    snapshot if snapshot is not None else snapshot_as_of(iceberg, as_of or _now())
                )
                difference = compare_with_snapshot(
                    lake, named, partition=partition, snapshot_id=wanted
                )
            else:
                difference = compare_with_backup(lake, named, backup, partition=partition)
            facts: dict[str, object] = {
                "from": f"snapshot {wanted}" if backup is None else f"backup {backup.location}",
                "rows now": difference.rows_now,
                "rows after": difference.rows_after,
                "rows that go": difference.rows_lost,
                "rows that come back": difference.rows_regained,
            }
            if not dry_run:
                run_id = maintainer.run_id
                with maintainer.recorded(named, "restore") as effects:
                    done = (
                        restore_from_snapshot(
                            lake, named, partition=partition, snapshot_id=wanted, run_id=run_id
                        )
                        if backup is None
                        else restore_from_backup(
                            lake, named, backup, partition=partition, run_id=run_id
                        )
                    )
                    proof = {**facts, "partition": str(partition or "all")}
                    effects.append(Effect(proof=proof, message=f"restored from {facts['from']}"))
                facts["snapshot"] = done.snapshot_id if done else "unchanged"
        show_facts(
            f"{title}: {'would be restored' if dry_run else 'restored'}", facts, as_json=as_json
        )


@backup_app.command("table")
def backup_table(
    table: Table,
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="A folder or s3:// address.")],
    partition: Partition = None,
    as_json: AsJson = False,
) -> None:
    """Copy a table, or one partition, with the checksums to restore it by."""
    with plain_failures(), services() as opened:
        named = table_named(table)
        with (
            _maintainer(opened, named.pipeline) as maintainer,
            maintainer.locked(named),
            showing_progress(as_json=as_json),
        ):
            made = back_up(opened.lake, named, to, partition=partition, now=_now())
        _show_backup(made, as_json=as_json)


@backup_app.command("verify")
def verify(
    folder: Annotated[str, typer.Argument(metavar="FOLDER")], as_json: AsJson = False
) -> None:
    """Read a whole backup and compare every file with its checksum; exit code 2 if one differs."""
    with plain_failures(), services() as opened:
        found = Backup.open(folder, opened.settings)
        with showing_progress(as_json=as_json):
            found.verify(opened.settings)
        _show_backup(found, as_json=as_json)


@app.command("run")
def run(
    pipeline: Annotated[str, typer.Argument(help="Or the beginning of its name.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do now what the pipeline's schedule does: all tables, then temporary files (SW-34, SA-42)."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline)
        with _maintainer(opened, name) as maintainer, showing_progress(as_json=as_json):
            reports = [
                *maintainer.maintain(tables_of(name), dry_run=dry_run),
                maintainer.clean_up(dry_run=dry_run),
            ]
        _show(name, reports, dry_run=dry_run, as_json=as_json)


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


@contextmanager
def _maintainer(opened: Services, pipeline: str) -> Iterator[Maintainer]:
    with open_instance(opened.settings) as instance:
        yield Maintainer(
            services=opened,
            runbook=runbook_of(pipeline),
            run_id=f"maintenance-{uuid.uuid4().hex[:12]}",
            unfinished_runs=lambda: unfinished_runs(instance),
            clock=_now,
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


def _show_backup(backup: Backup, *, as_json: bool) -> None:
    facts = {
        "folder": backup.location,
        "table": "/".join(backup.table),
        "partition": backup.partition or "all",
        "snapshot": backup.snapshot_id,
        "rows": backup.row_count,
        "files": len(backup.files),
        "bytes": sum(file.size_bytes for file in backup.files),
    }
    show_facts("Backup", facts, as_json=as_json)


def _now() -> datetime:
    return datetime.now(UTC)
