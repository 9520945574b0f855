"""Checks that a runbook alone states: what the platform measures for any pipeline.

A threshold that the pipeline's own code declares a check for is left to it.
"""

from functools import partial
from typing import get_args

import dagster as dg

from pipeline_platform.operations.common_measures import MEASURES
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.automation import OwnSchedules, schedules_from_runbook
from pipeline_platform.orchestration.threshold_checks import (
    Measured,
    check_keys,
    pipeline_runs,
    threshold_checks,
    thresholds_of,
)
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.quality.mutation_scores import run_of
from pipeline_platform.quality.thresholds import Stage
from pipeline_platform.runbook import Runbook, Schedule
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment

SCHEDULE = "common_measures"
HOURLY = Schedule(
    title="What the platform measures for any pipeline",
    cron="20 * * * *",
    environments={"production": "running"},
)


def common_checks(
    declared: frozenset[dg.AssetCheckKey], environment: Environment
) -> dg.Definitions:
    """Declare the checks that no pipeline's code does, with a job and a schedule a pipeline."""
    return dg.Definitions.merge(
        *(_of_pipeline(one, declared, environment) for one in runbooks().values())
    )


def _of_pipeline(
    runbook: Runbook, declared: frozenset[dg.AssetCheckKey], environment: Environment
) -> dg.Definitions:
    thresholds = [
        one
        for one in thresholds_of(runbook, *get_args(Stage))
        if one.name in MEASURES and not declared.intersection(check_keys([one]))
    ]
    if not thresholds:
        return dg.Definitions()

    def measured(context: dg.AssetCheckExecutionContext, services: Services) -> Measured:
        run = run_of(services, runbook, context.run.run_id)
        scope = Scope(run, (), pipeline_runs(context, runbook.pipeline))
        return partial(measure, scope, measures=MEASURES)

    job = dg.define_asset_job(
        f"{runbook.pipeline}_{SCHEDULE}",
        selection=dg.AssetSelection.checks(*check_keys(thresholds)),
        description="Thresholds of the runbook that the platform measures for any pipeline.",
    )
    hourly = OwnSchedules(runbook.pipeline, {SCHEDULE: HOURLY})
    return dg.Definitions(
        asset_checks=[threshold_checks(runbook, "common", thresholds, measured)],
        jobs=[job],
        schedules=schedules_from_runbook(hourly, {SCHEDULE: job}, environment),
    )
