"""`pipeline-platform backup`: copies of database and lake made, listed, verified and removed."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import Limit, parse_day
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.lake_tables import all_tables, table_named
from pipeline_platform.commands.maintenance import maintainer_of
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.backup import Backup, back_up
from pipeline_platform.recovery.backup_contents import (
    Judged,
    SavedTable,
    judge_contents,
    saved_table,
    saved_tables,
)
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup, is_id
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.retention import remove_old_backups
from pipeline_platform.recovery.second_copy import copy_backups
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

app = typer.Typer(help="Copies of database and lake: made, listed, verified, removed.")


@app.command()
def create(
    reason: Annotated[str, typer.Option(help="Why; the list shows it.")],
    lake_only: Annotated[
        bool, typer.Option("--lake-only", help="Leave the database out; its log is kept anyway.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up the database and the lake (SA-69); only what is new in the lake is copied."""
    with plain_failures(), services() as opened:
        action = Action(command_line_actor(), "backup", "platform", None, reason)
        with audited(opened.database, action), showing_progress(as_json=as_json):
            made = create_backup(opened, reason=reason, clock=utc_now, has_database=not lake_only)
        show_facts("Backup", _facts(BackupSets(opened.settings), made), as_json=as_json)


@app.command()
def copy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name what is missing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy to PLATFORM_SECOND_BACKUPS_LOCATION what it lacks, each file compared (SA-93).

    Nothing is removed there. To restore from it, set PLATFORM_BACKUPS_LOCATION to it.
    """
    with plain_failures(), showing_progress(as_json=as_json):
        found = [asdict(one) for one in copy_backups(Settings.from_env(), dry_run=dry_run)]
    title = "Would be copied" if dry_run else "Copied"
    show_rows(title, found, as_json=as_json, empty="nothing is missing there.")


@app.command("list")
def list_backups(limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the whole backups, the newest first; needs no database."""
    with plain_failures():
        sets = BackupSets(Settings.from_env())
        ids = sets.ids()[::-1][:limit]
        rows = [_facts(sets, sets.get(one)) for one in ids]
        show_rows(
            f"Backups at {sets.store.location}", rows, as_json=as_json, empty="none is there."
        )


@app.command()
def verify(
    backup: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|FOLDER",
            help="A backup, a folder of backups (its newest), or of a copy of a table; else the "
            "newest.",
        ),
    ] = None,
    contents: Annotated[
        bool,
        typer.Option("--contents", help="Also judge its rows: their columns and contracts."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a whole backup and compare every file with its checksum; exit code 1 if one differs."""
    with plain_failures():
        settings, sets = Settings.from_env(), None
        if backup is not None and not is_id(backup):
            sets = BackupSets(settings.model_copy(update={"backups_location": backup}))
            if not sets.ids():
                _verify_copy(Backup.open(backup, settings), settings, contents, as_json=as_json)
                return
            backup = None
        sets = sets or BackupSets(settings)
        found = sets.newest() if backup is None else sets.get(backup)
        if found is None:
            raise NotFoundError(
                f"There is no backup at {sets.store.location}; `pipeline-platform backup create "
                "--reason ...` makes one."
            )
        with showing_progress(as_json=as_json):
            faults = [*verify_backup(sets, found, utc_now()).faults]
            judged = _judge(sets.settings, list(saved_tables(sets, found))) if contents else None
        _show_verified("Backup", _facts(sets, found), faults, judged, as_json=as_json)


def _verify_copy(copied: Backup, settings: Settings, contents: bool, *, as_json: bool) -> None:
    with showing_progress(as_json=as_json):
        copied.verify(settings)
        judged = _judge(settings, [saved_table(copied)]) if contents else None
    _show_verified("Backup", _copy_facts(copied), [], judged, as_json=as_json)


def _judge(settings: Settings, tables: Sequence[SavedTable]) -> Judged:
    declared = {"/".join(one.asset_key): one for one in all_tables()}
    return judge_contents(settings, tables, declared, utc_now())


def _show_verified(
    title: str,
    facts: dict[str, object],
    faults: list[str],
    judged: Judged | None,
    *,
    as_json: bool,
) -> None:
    """Print what was verified; exit code 1 if something is wrong with it."""
    if judged is not None:
        facts |= {"rows read": judged.rows, "rules judged": judged.rules}
        faults = [*faults, *judged.faults]
    show_facts(title, {**facts, "faults": faults}, as_json=as_json)
    if faults:
        errors.print("The backup is damaged; use another one, and make a new one now.")
        raise typer.Exit(FOUND_FAULTS)


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove backups that are too old, and what no other needs (SA-91)."""
    with plain_failures(), services() as opened:
        with acting(opened, "prune backups", "platform", dry_run=dry_run) as action:
            found = list(remove_old_backups(opened, now=utc_now(), dry_run=dry_run))
            action.state_after = {"files removed": len(found)}
        rows = [asdict(one) for one in found]
        title = "Files that would go" if dry_run else "Files that went"
        show_rows(title, rows, as_json=as_json, empty="none.")


@app.command("table")
def backup_table(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Noun, or pipeline/layer/noun.")],
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="A folder or s3:// address.")],
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Only this partition."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy one table, or one partition, to a folder of its own, with checksums."""
    with plain_failures(), services() as opened:
        named = table_named(table)
        with (
            maintainer_of(opened, named.pipeline) as maintainer,
            maintainer.locked(named),
            showing_progress(as_json=as_json),
        ):
            made = back_up(opened.lake, named, to, partition=partition, now=utc_now())
        _show_copy(made, as_json=as_json)


def _facts(sets: BackupSets, backup: PlatformBackup) -> dict[str, object]:
    verdict = sets.verdict(backup.id)
    state = "not verified" if verdict is None else ("damaged" if verdict.faults else "verified")
    database, lake = backup.database, backup.lake
    return {
        "backup": backup.id,
        "ended (UTC)": backup.ended_at,
        "state": state,
        "database": "-" if database is None else database.kind,
        "holds from (UTC)": None if database is None else database.proved_at,
        "lake tables": 0 if lake is None else len(lake.tables),
        "lake rows": 0 if lake is None else sum(one.row_count for one in lake.tables),
        "delivered files": 0 if backup.landing is None else backup.landing.file_count,
        "kept by versions in S3": [] if backup.landing is None else list(backup.landing.versioned),
        "bytes": backup.size_bytes,
        "reason": backup.reason,
    }


def _show_copy(backup: Backup, *, as_json: bool) -> None:
    show_facts("Backup", _copy_facts(backup), as_json=as_json)


def _copy_facts(backup: Backup) -> dict[str, object]:
    return {
        "folder": backup.location,
        "table": "/".join(backup.table),
        "partition": backup.partition or "all",
        "snapshot": backup.snapshot_id,
        "rows": backup.row_count,
        "files": len(backup.files),
        "bytes": sum(file.size_bytes for file in backup.files),
    }
