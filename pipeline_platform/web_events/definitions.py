"""Everything of web_events that Dagster knows."""

import dagster as dg

from pipeline_platform.settings import Environment
from pipeline_platform.web_events import assets, automation, checks


def build_defs(environment: Environment) -> dg.Definitions:
    """Assemble the pipeline; resources are bound by the root."""
    return dg.Definitions(
        assets=assets.ASSETS,
        asset_checks=checks.CHECKS,
        jobs=automation.JOBS,
        sensors=automation.sensors(environment),
        schedules=automation.schedules(environment),
    )
