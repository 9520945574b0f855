"""Everything of advisory_performance that Dagster knows."""

import dagster as dg

from pipeline_platform.advisory_performance import assets, automation, checks
from pipeline_platform.settings import Environment


def build_defs(environment: Environment) -> dg.Definitions:
    """Assemble the pipeline; resources are bound by the root."""
    return dg.Definitions(
        assets=assets.ASSETS,
        asset_checks=checks.CHECKS,
        jobs=automation.JOBS,
        sensors=automation.sensors(environment),
        schedules=automation.schedules(environment),
    )
