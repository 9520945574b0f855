"""When the platform's own work runs: cost, sizes, backups by schedule, alerts always."""

from collections.abc import Sequence

import dagster as dg

from pipeline_platform.operations import backups
from pipeline_platform.operations.alerting import Router
from pipeline_platform.operations.assets import DAILY_COST, GROUP
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.growth import remember_sizes
from pipeline_platform.operations.plan import alertings, operations_plan
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
    sensor_from_runbook,
)
from pipeline_platform.orchestration.resources import ServicesParam
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


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    cost_job,
    sizes_job,
    backups.daily_job,
    backups.lake_backup_job,
    backups.drill_job,
]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the plan, on or off as it says for this environment."""
    jobs: dict[str, ExecutableDefinition] = {
        "daily_cost": cost_job,
        "daily_sizes": sizes_job,
        "daily_backup": backups.daily_job,
        "lake_backup": backups.lake_backup_job,
        "recovery_drill": backups.drill_job,
    }
    return schedules_from_runbook(operations_plan(), jobs, environment)


def sensors(environment: Environment) -> Sequence[dg.SensorDefinition]:
    """Return the sensors of the plan, on or off as it says for this environment."""

    @sensor_from_runbook(operations_plan(), "alerts", None, environment)
    def alerts(context: dg.SensorEvaluationContext, services: ServicesParam) -> dg.SkipReason:
        """Do one round: what it read to is kept with what it changed, not in Dagster's cursor."""
        repository = context.repository_def
        assert repository is not None  # noqa: S101 -- a sensor is evaluated in its code location
        log = EventLog(context.instance, repository.asset_graph, alertings())
        return dg.SkipReason(Router(services).round(log.read).in_words())

    return [alerts]
