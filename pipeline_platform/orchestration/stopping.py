"""What the launcher asks before a queued run begins: is its pipeline stopped? (SA-67, XC-5)."""

from functools import cache

import dagster as dg

from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.stops import EVERYTHING, stops


@cache
def _services() -> Services:
    """Open the platform's services once in the process that launches."""
    return Services(Settings.from_env())


def refusal_of(run: dg.DagsterRun) -> str | None:
    """Say why a run must not begin now; None if it may."""
    with _services().database.connection() as connection:
        stopped = stops(connection)
    for scope, stop in stopped.items():
        if scope == EVERYTHING or belongs(run, scope):
            return stop.sentence(run.job_name if scope == EVERYTHING else scope)
    return None
