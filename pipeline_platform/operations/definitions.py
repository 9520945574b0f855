"""Everything of the platform's own operations that Dagster knows."""

import dagster as dg

from pipeline_platform.operations import assets, automation, backups, cost_checks
from pipeline_platform.settings import Environment


def build_defs(environment: Environment) -> dg.Definitions:
    """Assemble the platform's own assets, jobs and sensors; resources are bound by the root."""
    return dg.Definitions(
        assets=[*assets.ASSETS, backups.backups, backups.recovery_drill],
        asset_checks=cost_checks.CHECKS,
        jobs=automation.JOBS,
        schedules=automation.schedules(environment),
        sensors=automation.sensors(environment),
    )
