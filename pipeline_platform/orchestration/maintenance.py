"""Maintenance as Dagster sees it: one job for each pipeline, scheduled by its runbook."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import dagster as dg

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.maintenance import OPERATIONS, Maintainer, Report
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services

__all__ = ["maintenance_job", "maintenance_pool", "unfinished_runs"]

_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


class MaintenanceConfig(dg.Config):
    """`dry_run` says what would be done, and changes nothing."""

    dry_run: bool = False


def unfinished_runs(instance: dg.DagsterInstance) -> Collection[str]:
    """Return the ids of all runs that have not ended, as far as Dagster knows."""
    waiting = [status for status in dg.DagsterRunStatus if status not in _ENDED]
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=waiting))}


def maintenance_pool(pipeline: str) -> str:
    """Return the pool in which one run at a time keeps or reviews a pipeline's tables (X-9)."""
    return f"{pipeline}_maintenance"


def maintenance_job(
    pipeline: str,
    tables: Sequence[LakeTable],
    load_runbook: Callable[[], Runbook],
    *,
    served: Sequence[str] = (),
) -> dg.JobDefinition:
    """Return the job that maintains a pipeline's tables; it fails at its end if one table did.

    `served` are tables of PostgreSQL, whose bloated indexes are rebuilt (SA-38).

    Once a week is too seldom for the snapshots of a table that is committed to every minute:
    `operations_retention` forgets those of every pipeline each night.
    """

    @dg.op(
        name=f"{pipeline}_maintain",
        description=f"{', '.join(OPERATIONS)}, clean-up, table by table.",
        pool=maintenance_pool(pipeline),
    )
    def maintain(
        context: dg.OpExecutionContext,
        config: MaintenanceConfig,
        services: dg.ResourceParam[Services],
    ) -> None:
        """Maintain one table after the other and report what was done."""
        maintainer = Maintainer(
            services=services,
            runbook=load_runbook(),
            run_id=context.run_id,
            unfinished_runs=lambda: unfinished_runs(context.instance),
            clock=lambda: datetime.now(UTC),
        )
        with handled_failures(context):
            reports = list(maintainer.maintain(tables, dry_run=config.dry_run))
        reports.append(maintainer.clean_up(dry_run=config.dry_run))
        reports += [maintainer.rebuild_indexes(one, dry_run=config.dry_run) for one in served]
        context.add_output_metadata(_metadata(reports))
        failed = [f"{one.table} ({one.operation}): {one.failure}" for one in reports if one.failure]
        if failed:
            raise dg.Failure(
                description=f"Maintenance failed in {len(failed)} of {len(reports)}: {failed[0]}",
                metadata={"failures": dg.MetadataValue.json(failed), **_metadata(reports)},
                allow_retries=False,
            )

    @dg.job(name=f"{pipeline}_maintenance", description="Keep the tables in order (B-13, X-9).")
    def job() -> None:
        maintain()

    return job


def _metadata(reports: Sequence[Report]) -> dict[str, dg.MetadataValue]:
    columns = ("table", "operation", "files before", "after", "bytes before", "after", "what")
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        f"| {one.table} | {one.operation} | {one.effect.files_before} | {one.effect.files_after} | "
        f"{one.effect.bytes_before:,} | {one.effect.bytes_after:,} | "
        f"{(one.failure or one.effect.message).replace('|', '/')} |"
        for one in reports
    ]
    freed = sum(one.effect.bytes_before - one.effect.bytes_after for one in reports)
    return {
        "report": dg.MetadataValue.md("\n".join(lines)),
        "bytes_freed": dg.MetadataValue.int(freed),
        "failures": dg.MetadataValue.int(sum(one.failure is not None for one in reports)),
    }
