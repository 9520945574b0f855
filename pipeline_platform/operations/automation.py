"""When the platform's own work runs: cost, sizes, backups, pages by schedule; alerts always."""

from collections.abc import Mapping, Sequence
from itertools import chain

import dagster as dg

from pipeline_platform.operations import backups
from pipeline_platform.operations.alerting import Router
from pipeline_platform.operations.assets import DAILY_COST, GROUP
from pipeline_platform.operations.capacity_alerts import look_ahead, tell_of
from pipeline_platform.operations.cloudwatch import publish_checks, publish_days
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.growth import remember_sizes
from pipeline_platform.operations.health_watch import HealthWatch, with_findings
from pipeline_platform.operations.lineage_assets import lineage_export
from pipeline_platform.operations.lineage_sender import NOT_CONFIGURED
from pipeline_platform.operations.plan import alertings, operations_plan, runbooks
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.operations.retention import Retention, row_of
from pipeline_platform.operations.security_assets import KEY as SECURITY
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
    sensor_from_runbook,
)
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.orchestration.mutations import mutations_job, mutations_schedule
from pipeline_platform.orchestration.reports import page_jobs, page_schedules
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.orchestration.run_retention import OldRuns
from pipeline_platform.run_context import utc_now
from pipeline_platform.settings import Environment

cost_job = dg.define_asset_job(
    f"{GROUP}_daily_cost",
    selection=dg.AssetSelection.assets(DAILY_COST),
    description="Cost of the last days, judged by the rules of every runbook that has one (X-10).",
)


@dg.op(description="Sizes of database and disk; forecasts that meet a limit become incidents.")
def measure_sizes(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Remember today's sizes, look ahead from all that is known, and tell of limits."""
    now = utc_now()
    sizes = remember_sizes(services, now)
    with handled_failures(context):
        found = look_ahead(services, runbooks(), now.date())
        tell_of(services, found, now)
    rows: list[Mapping[str, object]] = [
        {"series": one.series.title, "outlook": one.sentence} for one in found
    ]
    context.add_output_metadata(
        {
            **{f"{name}_bytes": size for name, size in sizes.items()},
            "outlooks": dg.MetadataValue.md(markdown_table(rows)),
        }
    )


@dg.job(
    name=f"{GROUP}_daily_sizes",
    description="What capacity is forecast from, and who is told of it (SA-48, SA-90, SW-66).",
)
def sizes_job() -> None:
    """Remember sizes, and look ahead, once a day."""
    measure_sizes()


@dg.op(description="What each check observed last, sent to CloudWatch (SA-6).")
def send_figures(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Send the figures of every pipeline."""
    sent = {name: publish_checks(services, one, utc_now()) for name, one in runbooks().items()}
    context.add_output_metadata(sent)


@dg.op(description="Rows of closed days, sent to CloudWatch (SW-65).")
def send_days(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Send the series of every pipeline that has one."""
    today = utc_now().date()
    sent = {name: publish_days(services, one, today) for name, one in runbooks().items()}
    context.add_output_metadata(sent)


@dg.job(name=f"{GROUP}_cloudwatch_figures", description="What CloudWatch's alarms watch (SA-6).")
def figures_job() -> None:
    """Send the figures of checks."""
    send_figures()


@dg.job(name=f"{GROUP}_cloudwatch_days", description="What grows by day, for CloudWatch (SW-65).")
def days_job() -> None:
    """Send the rows of closed days."""
    send_days()


security_job = dg.define_asset_job(
    f"{GROUP}_security_review",
    selection=dg.AssetSelection.assets(SECURITY),
    description="Access, encryption, rotation, audit trails and tags (XC-12).",
)


class RetentionConfig(dg.Config):
    """`dry_run` says what would go, and changes nothing."""

    dry_run: bool = False


@dg.op(description="Let every place forget what its limit says, in one bounded pass.")
def forget_what_is_old(
    context: dg.OpExecutionContext, config: RetentionConfig, services: ServicesParam
) -> None:
    """Forget, place by place; the run fails at its end if one place did."""
    instance = context.instance
    retention = Retention.of(
        services, utc_now(), context.run_id, OldRuns(instance), lambda: unfinished_runs(instance)
    )
    with handled_failures(context):
        outcomes = list(retention.look() if config.dry_run else retention.apply())
    failed = [f"{one.place}: {one.failure}" for one in outcomes if one.failure]
    metadata: dict[str, dg.MetadataValue] = {
        "places": dg.MetadataValue.md(markdown_table([row_of(one) for one in outcomes])),
        "removed": dg.MetadataValue.int(sum(one.removed or 0 for one in outcomes)),
    }
    context.add_output_metadata(metadata)
    if failed:
        raise dg.Failure(
            description=f"{len(failed)} of {len(outcomes)} places failed: {failed[0]}",
            metadata=metadata,
            allow_retries=False,
        )


@dg.job(name=f"{GROUP}_retention", description="Retention of all that grows (XC-8, SA-45, SC-44).")
def retention_job() -> None:
    """Forget once a day."""
    forget_what_is_old()


MUTATIONS = {
    one.pipeline: mutations_job(one.pipeline) for one in runbooks().values() if one.mutations
}
PAGES = {runbook.pipeline: page_jobs(runbook) for runbook in runbooks().values()}
JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    cost_job,
    sizes_job,
    figures_job,
    days_job,
    backups.daily_job,
    backups.lake_backup_job,
    backups.drill_job,
    retention_job,
    security_job,
    *(job for jobs in PAGES.values() for job in jobs.values()),
    *MUTATIONS.values(),
]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the plan and of every page, on or off in this environment."""
    jobs: dict[str, ExecutableDefinition] = {
        "daily_cost": cost_job,
        "daily_sizes": sizes_job,
        "cloudwatch_figures": figures_job,
        "cloudwatch_days": days_job,
        "daily_backup": backups.daily_job,
        "lake_backup": backups.lake_backup_job,
        "recovery_drill": backups.drill_job,
        "retention": retention_job,
        "security_review": security_job,
    }
    pages = [
        page_schedules(runbook, PAGES[name], environment) for name, runbook in runbooks().items()
    ]
    nightly = [
        mutations_schedule(runbooks()[name], job, environment) for name, job in MUTATIONS.items()
    ]
    return [
        *schedules_from_runbook(operations_plan(), jobs, environment),
        *chain(*pages),
        *chain(*nightly),
    ]


def sensors(environment: Environment) -> Sequence[dg.SensorDefinition]:
    """Return the sensors of the plan, on or off as it says for this environment."""

    @sensor_from_runbook(operations_plan(), "alerts", None, environment)
    def alerts(context: dg.SensorEvaluationContext, services: ServicesParam) -> dg.SkipReason:
        """Do one round: what it read to is kept with what it changed, not in Dagster's cursor.

        Ended runs are recorded first, so that pages know them also where no HTTP service runs.
        """
        repository = context.repository_def
        assert repository is not None  # noqa: S101 -- a sensor is evaluated in its code location
        jobs = list(repository.get_all_jobs())
        RunRecorder(repository.asset_graph, jobs, context.instance).record_ended(services)
        log = EventLog(context.instance, repository.asset_graph, alertings())
        found = HealthWatch(services, context.instance).look()
        return dg.SkipReason(Router(services).round(with_findings(log.read, found)).in_words())

    @sensor_from_runbook(operations_plan(), "lineage", None, environment)
    def lineage(context: dg.SensorEvaluationContext, services: ServicesParam) -> dg.SkipReason:
        """Tell what is new; what can't be told now is told by a later round."""
        if services.settings.lineage_url is None:
            return dg.SkipReason(NOT_CONFIGURED)
        repository = context.repository_def
        assert repository is not None  # noqa: S101 -- a sensor is evaluated in its code location
        told = lineage_export(services, repository.asset_graph, context.instance).send()
        return dg.SkipReason(told.in_words())

    return [alerts, lineage]
