"""`pipeline-platform restore`: a partition, a table, the lake or the database made what it was."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, parse_instant
from pipeline_platform.commands.lake_tables import table_named
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
from pipeline_platform.failures import BadInputError
from pipeline_platform.lake.backup import Backup
from pipeline_platform.lake.expiry import snapshot_as_of
from pipeline_platform.lake.export import lost_files
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.restoration import (
    Difference,
    compare_with_backup,
    compare_with_export,
    compare_with_snapshot,
    restore_from_backup,
    restore_from_export,
    restore_from_snapshot,
)
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.recovery.backup_sets import BackupSets, DeliveredFile, is_id
from pipeline_platform.recovery.landing_copies import lost_deliveries, restore_landing
from pipeline_platform.recovery.restoration import (
    lake_tables,
    restore_database,
    restore_lake,
    target_of,
)
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.maintenance_log import Effect
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

Compare = Callable[[], Difference]
Apply = Callable[[str], Publication | None]


def restore(
    table: Annotated[
        str | None,
        typer.Argument(metavar="TABLE", help="Noun, or pipeline/layer/noun; or --all, --database."),
    ] = None,
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Only this partition."),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_instant, metavar="INSTANT", help="As it was then (UTC; a day = its end)."
        ),
    ] = None,
    snapshot: Annotated[int | None, typer.Option(help="As it was in this snapshot.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="ID|FOLDER", help="As it is in this backup."),
    ] = None,
    whole_lake: Annotated[
        bool, typer.Option("--all", help="All tables of the lake, and their catalog.")
    ] = False,
    database: Annotated[
        bool, typer.Option("--database", help="The database, to the newest change or --as-of.")
    ] = False,
    landing: Annotated[
        bool, typer.Option("--landing", help="Delivered files that their landing zones have lost.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="LOCATION", help="With --all: put the tables there."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a partition or table what it was (SW-53), in one commit; or the lake, or the database.

    `pipeline-platform recover` does the last two with all that belongs to it.
    """
    with plain_failures():
        if sum((table is not None, whole_lake, database, landing)) != 1:
            raise BadInputError("Say what to restore: a table, --all, --database or --landing.")
        if to is not None and not whole_lake:
            raise BadInputError("--to goes with --all only.")
        if table is not None:
            _restore_table(table, partition, (as_of, snapshot, source), dry_run, as_json)
        elif landing:
            _restore_landing(source, dry_run, as_json)
        elif whole_lake:
            _restore_lake(source, to, dry_run, as_json)
        else:
            _restore_database(source, as_of, dry_run, as_json)


def _restore_table(
    name: str,
    partition: date | None,
    wanted: tuple[datetime | None, int | None, str | None],
    dry_run: bool,
    as_json: bool,
) -> None:
    if sum(one is not None for one in wanted) != 1:
        raise BadInputError("Say what to restore: one of --as-of, --snapshot and --from.")
    with services() as opened:
        named = table_named(name)
        title = f"{'/'.join(named.asset_key)}, {partition or 'the whole table'}"
        with (
            maintainer_of(opened, named.pipeline) as maintainer,
            maintainer.locked(named),
            showing_progress(as_json=as_json),
        ):
            origin, compare, apply = _source(opened, named, partition, *wanted)
            difference = compare()
            facts: dict[str, object] = {
                "from": origin,
                "rows now": difference.rows_now,
                "rows after": difference.rows_after,
                "rows that go": difference.rows_lost,
                "rows that come back": difference.rows_regained,
            }
            if not dry_run:
                with maintainer.recorded(named, "restore") as effects:
                    done = apply(maintainer.run_id)
                    proof = {**facts, "partition": str(partition or "all")}
                    effects.append(Effect(proof=proof, message=f"restored from {origin}"))
                facts["snapshot"] = done.snapshot_id if done else "unchanged"
        show_facts(
            f"{title}: {'would be restored' if dry_run else 'restored'}", facts, as_json=as_json
        )


def _source(
    opened: Services,
    table: LakeTable,
    partition: date | None,
    as_of: datetime | None,
    snapshot: int | None,
    source: str | None,
) -> tuple[str, Compare, Apply]:
    """Return where rows come back from, in words, and how to look at and to do it."""
    lake = opened.lake
    if source is None:
        wanted = snapshot_as_of(lake.iceberg(table), as_of) if as_of else snapshot or 0
        return (
            f"snapshot {wanted}",
            lambda: compare_with_snapshot(lake, table, partition=partition, snapshot_id=wanted),
            lambda run_id: restore_from_snapshot(
                lake, table, partition=partition, snapshot_id=wanted, run_id=run_id
            ),
        )
    if is_id(source):
        sets = BackupSets(opened.settings)
        (kept,) = lake_tables(sets.get(source), [table.identifier])
        export = sets.export(kept)
        return (
            f"backup {source}",
            lambda: compare_with_export(lake, table, export, sets.store, partition=partition),
            lambda run_id: restore_from_export(
                lake, table, export, sets.store, partition=partition, run_id=run_id
            ),
        )
    backup = Backup.open(source, opened.settings)
    return (
        f"backup {backup.location}",
        lambda: compare_with_backup(lake, table, backup, partition=partition),
        lambda run_id: restore_from_backup(lake, table, backup, partition=partition, run_id=run_id),
    )


def _restore_lake(source: str | None, to: str | None, dry_run: bool, as_json: bool) -> None:
    with Services(_moved(Settings.from_env(), to)) as opened:
        sets = BackupSets(opened.settings)
        backup = sets.chosen(source, "lake")
        if dry_run:
            rows: list[dict[str, object]] = [
                {
                    "table": ".".join(one.identifier),
                    "lost files": len(lost_files(opened.lake, one.identifier))
                    if to is None
                    else "-",
                    "rows in the backup": one.row_count,
                    "files in the backup": one.file_count,
                }
                for one in lake_tables(backup)
            ]
        else:
            action = Action(command_line_actor(), "restore", "lake", None, backup.id)
            with audited(opened.database, action), showing_progress(as_json=as_json):
                done = restore_lake(opened, sets, backup, location=to)
            rows = [
                {
                    "table": ".".join(one.identifier),
                    "outcome": one.outcome,
                    "rows in the backup": one.row_count,
                }
                for one in done
            ]
    title = f"Lake from {backup.id}: {'would be restored' if dry_run else 'restored'}"
    show_rows(title, rows, as_json=as_json, empty="the backup has no table.")
    if to is not None and not dry_run:
        errors.print(
            f"The lake is now at {to}: set PLATFORM_PROCESSED_LOCATION to it before anything runs.",
            markup=False,
            soft_wrap=True,
        )


def _moved(settings: Settings, to: str | None) -> Settings:
    """Return settings of a platform whose lake is there: a bucket is written as no folder is."""
    if to is None:
        return settings
    return Settings.of({**dict(settings), "processed_location": to})


def _restore_landing(source: str | None, dry_run: bool, as_json: bool) -> None:
    with services() as opened:
        sets = BackupSets(opened.settings)
        backup = sets.chosen(source, "landing")
        if backup.landing is None:
            raise BadInputError(f"The backup {backup.id} holds no delivered files; use another.")
        gone: list[DeliveredFile] = []
        if dry_run:
            found = lost_deliveries(opened, sets, backup.landing, utc_now())
        else:
            action = Action(command_line_actor(), "restore", "landing", None, backup.id)
            with audited(opened.database, action), showing_progress(as_json=as_json):
                found, gone = restore_landing(opened, sets, backup.landing, utc_now())
        rows = [
            {
                "pipeline": one.pipeline,
                "folder": one.folder,
                "file": one.name,
                "bytes": one.size_bytes,
                "outcome": "put back" if one in found and not dry_run else "lost",
            }
            for one in (*found, *gone)
        ]
    title = f"Delivered files from {backup.id}"
    show_rows(title, rows, as_json=as_json, empty="none is lost.")
    if gone:
        errors.print(
            "Some are neither in a backup nor in their bucket's versions: ask for them again."
        )
        raise typer.Exit(FOUND_FAULTS)


def _restore_database(
    source: str | None, as_of: datetime | None, dry_run: bool, as_json: bool
) -> None:
    settings = Settings.from_env()
    sets = BackupSets(settings)
    backup = sets.chosen(source, "database", before=as_of)
    target = target_of(backup, as_of)
    facts: dict[str, object] = {"from": backup.id, "up to": str(target)}
    if not dry_run:
        with showing_progress(as_json=as_json):
            done = restore_database(settings, sets, backup, target, by=command_line_actor())
        facts |= {
            "proof": done.proof,
            "newest change (UTC)": done.holds_until,
            "replaced data": done.replaced,
            "pipelines": "stopped; `pipeline-platform pipelines resume` lets them go on",
        }
    show_facts(
        f"Database: {'would be restored' if dry_run else 'restored'}", facts, as_json=as_json
    )
