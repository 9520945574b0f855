"""When the platform's own work runs: cost, sizes, backups, pages of pipelines; alerts always."""

from collections.abc import Sequence
from itertools import chain

import dagster as dg

from pipeline_platform.operations import backups
from pipeline_platform.operations.alerting import Router
from pipeline_platform.operations.assets import DAILY_COST, GROUP
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.growth import remember_sizes
from pipeline_platform.operations.plan import alertings, operations_plan, runbooks
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
    sensor_from_runbook,
)
from pipeline_platform.orchestration.reports import page_jobs, page_schedules
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.run_context import utc_now
from pipeline_platform.settings import Environment

cost_job = dg.define_asset_job(
    f"{GROUP}_daily_cost",
    selection=dg.AssetSelection.assets(DAILY_COST),
    description="Cost of the last days, judged by the rules of every runbook that has one (X-10).",
)


@dg.op(description="Size of the database and, if the lake is a folder, of what its disk holds.")
def measure_sizes(context: dg.OpExecutionContext, services: ServicesParam) -> None:
    """Remember today's sizes, from which `capacity` forecasts."""
    sizes = remember_sizes(services, utc_now())
    context.add_output_metadata({f"{name}_bytes": size for name, size in sizes.items()})


@dg.job(name=f"{GROUP}_daily_sizes", description="What capacity is forecast from (SA-48, SW-66).")
def sizes_job() -> None:
    """Remember sizes once a day."""
    measure_sizes()


PAGES = {runbook.pipeline: page_jobs(runbook) for runbook in runbooks().values()}
JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    cost_job,
    sizes_job,
    backups.daily_job,
    backups.lake_backup_job,
    backups.drill_job,
    *(job for jobs in PAGES.values() for job in jobs.values()),
]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the plan and of every page, on or off in this environment."""
    jobs: dict[str, ExecutableDefinition] = {
        "daily_cost": cost_job,
        "daily_sizes": sizes_job,
        "daily_backup": backups.daily_job,
        "lake_backup": backups.lake_backup_job,
        "recovery_drill": backups.drill_job,
    }
    pages = [
        page_schedules(runbook, PAGES[name], environment) for name, runbook in runbooks().items()
    ]
    return [*schedules_from_runbook(operations_plan(), jobs, environment), *chain(*pages)]


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
        return dg.SkipReason(Router(services).round(log.read).in_words())

    return [alerts]
