"""Maintenance as Dagster sees it: one job for each pipeline, scheduled by its runbook."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import dagster as dg

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.maintenance import OPERATIONS, Maintainer, Operation, Report
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services

__all__ = ["expiry_job", "maintenance_job", "maintenance_pool", "unfinished_runs"]

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
    pipeline: str, tables: Sequence[LakeTable], load_runbook: Callable[[], Runbook]
) -> dg.JobDefinition:
    """Return the job that maintains a pipeline's tables; it fails at its end if one table did."""
    title = "Keep the tables in order (B-13, X-9)."
    return _job(
        pipeline,
        ("maintenance", "maintain"),
        title,
        tables,
        load_runbook,
        OPERATIONS,
        cleans_up=True,
    )


def expiry_job(
    pipeline: str, tables: Sequence[LakeTable], load_runbook: Callable[[], Runbook]
) -> dg.JobDefinition:
    """Return the job that only forgets old snapshots, for tables that are committed to often.

    Weekly would be too late: each commit reads and writes what the table remembers.
    """
    title = "Forget snapshots that are too old or too many (B-13)."
    return _job(
        pipeline, ("expiry", "expire"), title, tables, load_runbook, ("expiry",), cleans_up=False
    )


def _job(
    pipeline: str,
    names: tuple[str, str],
    title: str,
    tables: Sequence[LakeTable],
    load_runbook: Callable[[], Runbook],
    operations: Sequence[Operation],
    *,
    cleans_up: bool,
) -> dg.JobDefinition:
    name, verb = names
    work = [*operations, *(["clean-up"] if cleans_up else [])]

    @dg.op(
        name=f"{pipeline}_{verb}",
        description=f"{', '.join(work)}, table by table.",
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
            reports = list(maintainer.maintain(tables, operations, dry_run=config.dry_run))
        if cleans_up:
            reports.append(maintainer.clean_up(dry_run=config.dry_run))
        context.add_output_metadata(_metadata(reports))
        failed = [f"{one.table} ({one.operation}): {one.failure}" for one in reports if one.failure]
        if failed:
            raise dg.Failure(
                description=f"Maintenance failed in {len(failed)} of {len(reports)}: {failed[0]}",
                metadata={"failures": dg.MetadataValue.json(failed), **_metadata(reports)},
                allow_retries=False,
            )

    @dg.job(name=f"{pipeline}_{name}", description=title)
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
