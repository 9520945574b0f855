"""When the platform's own work runs: cost is read and judged once a day."""

from collections.abc import Sequence

import dagster as dg

from pipeline_platform.operations.assets import DAILY_COST, GROUP
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
)
from pipeline_platform.settings import Environment

cost_job = dg.define_asset_job(
    f"{GROUP}_daily_cost",
    selection=dg.AssetSelection.assets(DAILY_COST),
    description="Cost of the last days, judged by the rules of every runbook that has one (X-10).",
)
JOBS: list[UnresolvedAssetJobDefinition] = [cost_job]


def schedules(environment: Environment) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules of the plan, on or off as it says for this environment."""
    jobs: dict[str, ExecutableDefinition] = {"daily_cost": cost_job}
    return schedules_from_runbook(operations_plan(), jobs, environment)
