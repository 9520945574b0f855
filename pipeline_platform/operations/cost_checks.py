"""Every runbook's rules on cost as checks of the one cost asset, after each reading (X-10)."""

from functools import partial

import dagster as dg

from pipeline_platform.operations.cost_readings import cost_measures
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.threshold_checks import (
    Measured,
    threshold_checks,
    thresholds_of,
)
from pipeline_platform.quality.measures import Scope, measure
from pipeline_platform.run_context import RunContext
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services


def cost_checks(runbook: Runbook) -> dg.AssetChecksDefinition:
    """Declare a runbook's rules on cost; raise InvalidRunbookError for one without a measure."""
    measures = cost_measures(runbook)

    def measured(context: dg.AssetCheckExecutionContext, services: Services) -> Measured:
        run = RunContext(services, context.run.run_id, runbook=runbook)
        return partial(measure, Scope(run, ()), measures=measures)

    return threshold_checks(runbook, "cost", thresholds_of(runbook, "cost"), measured)


CHECKS = [cost_checks(one) for one in runbooks().values() if thresholds_of(one, "cost")]
