"""Backups and drills as assets: made by schedule, and late when they are not (SA-91, B-11)."""

from typing import Any

import dagster as dg

from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.orchestration.automation import freshness_policy
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.drills import drill
from pipeline_platform.recovery.exercises import Exercise
from pipeline_platform.recovery.retention import remove_old_backups
from pipeline_platform.recovery.second_copy import copy_backups
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services

GROUP = operations_plan().pipeline
BACKUPS = dg.AssetKey([GROUP, "recovery", "backups"])
DRILL = dg.AssetKey([GROUP, "recovery", "drill"])
POOL = f"{GROUP}_backups"
"""One backup, or removal of backups, at a time."""


def _policy(key: dg.AssetKey) -> dg.FreshnessPolicy:
    return freshness_policy(operations_plan().freshness["/".join(key.path)])


@dg.asset(
    key=BACKUPS,
    group_name=GROUP,
    pool=POOL,
    freshness_policy=_policy(BACKUPS),
    description="The day's backup of database and lake, verified; those too old go (SA-91, SW-47).",
)
def backups(
    context: dg.AssetExecutionContext, services: ServicesParam
) -> dg.MaterializeResult[None]:
    """Make a backup, read all of it, remove what is too old; faults fail the run."""
    with handled_failures(context):
        made = create_backup(services, reason="daily", clock=utc_now)
        sets = BackupSets(services.settings)
        verdict = verify_backup(sets, made, utc_now())
    if verdict.faults:
        raise dg.Failure(
            description=f"Backup {made.id} has {len(verdict.faults)} faults: {verdict.faults[0]}",
            metadata={"faults": dg.MetadataValue.json(list(verdict.faults))},
            allow_retries=False,
        )
    with handled_failures(context):
        copied = _copied(services)
    gone = len(remove_old_backups(services, now=utc_now()))
    return dg.MaterializeResult(metadata={**_metadata(made), **copied, "removed_files": gone})


@dg.op(pool=POOL, description="Copy what is new in the lake, between two daily backups (SA-98).")
def back_up_lake(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Back up the lake alone; the database's log is kept all the time."""
    with handled_failures(context):
        made = create_backup(services, reason="lake", clock=utc_now, has_database=False)
        copied = _copied(services)
        gone = len(remove_old_backups(services, now=utc_now()))
    context.add_output_metadata({**_metadata(made), **copied, "removed_files": gone})


@dg.job(name=f"{GROUP}_lake_backup", description="What is new in the lake since the last backup.")
def lake_backup_job() -> None:
    """Back up the lake."""
    back_up_lake()


@dg.asset(
    key=DRILL,
    group_name=GROUP,
    freshness_policy=_policy(DRILL),
    description="The newest backup restored in a scratch place, verified and timed; failover, a "
    "lost partition, a corrupt file and a kill in mid-commit exercised there (SA-97, B-11).",
)
def recovery_drill(
    context: dg.AssetExecutionContext, services: ServicesParam
) -> dg.MaterializeResult[None]:
    """Prove that a backup can be brought back; faults are told by a runbook's `backup_faults`."""
    settings = services.settings
    sets = BackupSets(settings)
    with handled_failures(context):
        result = drill(settings, sets, sets.chosen(None, "database"), clock=utc_now)
    if result.faults:
        raise dg.Failure(
            description=f"The drill found {len(result.faults)} faults: {result.faults[0]}",
            metadata={"faults": dg.MetadataValue.json(list(result.faults))},
            allow_retries=False,
        )
    age = result.data_age_minutes
    return dg.MaterializeResult(
        metadata={
            "proven": result.in_words(),
            "not_compared": dg.MetadataValue.json(list(result.skipped)),
            "exercises": dg.MetadataValue.md(
                markdown_table([exercise_row(one) for one in result.exercises])
            ),
            "backup": result.backup_id,
            "recovery_minutes": result.seconds / 60,
            **({} if age is None else {"data_age_minutes": age}),
            "database_tables_compared": result.database_tables,
            "lake_tables_rebuilt": result.lake_tables,
            "lake_rows_counted": result.lake_rows,
            "rules_judged": result.rules,
        }
    )


daily_job = dg.define_asset_job(
    f"{GROUP}_daily_backup",
    selection=dg.AssetSelection.assets(BACKUPS),
    description="Back up database and lake, verify, remove what is too old (SA-91).",
)
drill_job = dg.define_asset_job(
    f"{GROUP}_recovery_drill",
    selection=dg.AssetSelection.assets(DRILL),
    description="Restore the newest backup in a scratch place and judge it (SP-54, SP-56, ST-51).",
)


def exercise_row(one: Exercise) -> dict[str, object]:
    """Return an exercise as people read it."""
    outcome = "; ".join(one.faults) or (f"skipped: {one.skipped}" if one.skipped else "proven")
    return {"exercise": one.name, "seconds": round(one.seconds, 1), "outcome": outcome}


def _copied(services: Services) -> dict[str, int | str]:
    """Copy to the second place, if there is one, what it lacks (SA-93); say if there is none."""
    if not services.settings.second_backups_location:
        return {"second_copy": "skipped: PLATFORM_SECOND_BACKUPS_LOCATION is not set"}
    return {"copied_files": sum(1 for _ in copy_backups(services.settings, dry_run=False))}


def _metadata(backup: PlatformBackup) -> dict[str, Any]:
    lake = backup.lake.tables if backup.lake else ()
    empty = [".".join(one.identifier) for one in lake if one.snapshot_id is None]
    database = backup.database
    return {
        "database": "skipped: this backup is of the lake alone"
        if database is None
        else f"{database.kind}, {len(database.contents)} tables counted"
        if database.is_exact
        else f"{database.kind}; others wrote while tables were counted: a drill can't compare them",
        "tables_without_snapshot": dg.MetadataValue.json(empty),
        "backup": backup.id,
        "bytes": backup.size_bytes,
        "seconds": (backup.ended_at - backup.began_at).total_seconds(),
        "lake_tables": len(lake),
        "lake_rows": sum(one.row_count for one in lake),
    }
