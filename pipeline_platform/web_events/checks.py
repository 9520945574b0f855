"""The runbook's thresholds as asset checks, each measured in one place (`measures.py`).

Checks of a day's rows run with the workflow that wrote them; checks of the service and of the
landing zone run every five minutes, too, the queries of gold every hour. The blocking ones of
silver are part of the asset itself; those of cost are the platform's (`operations/cost_checks.py`).
"""

from functools import partial

import dagster as dg

from pipeline_platform.orchestration.threshold_checks import (
    Measured,
    check_keys,
    partitions_of_run,
    pipeline_runs,
    threshold_checks,
    thresholds_of,
)
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.quality.measures import measure
from pipeline_platform.services import Services
from pipeline_platform.web_events.measures import MEASURES, Scope
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE, WEB_EVENTS

LATEST_DAYS = 2
RUNBOOK = load_runbook()


def _measured(context: dg.AssetCheckExecutionContext, services: Services) -> Measured:
    """Measure the days of the run, or the latest ones when the run has none."""
    days = partitions_of_run(context, "day")
    if days is None:
        days = tuple(dates_in(services.lake.partitions(WEB_EVENTS)))[-LATEST_DAYS:]
    run = RunContext(services, context.run.run_id)
    return partial(measure, Scope(run, days, pipeline_runs(context, PIPELINE)), measures=MEASURES)


LANDING = thresholds_of(RUNBOOK, "landing", "bronze")
SILVER = thresholds_of(RUNBOOK, "silver")
QUERIES = thresholds_of(RUNBOOK, "gold")
SERVICE = thresholds_of(RUNBOOK, "serving", "service", "recovery")
INGEST_CHECK_KEYS = check_keys(LANDING)
DAILY_CHECK_KEYS = check_keys(SILVER)
QUERY_CHECK_KEYS = check_keys(QUERIES)
SERVICE_CHECK_KEYS = check_keys(SERVICE)
CHECKS = [
    threshold_checks(RUNBOOK, name, thresholds, _measured)
    for name, thresholds in (
        ("landing", LANDING),
        ("silver", SILVER),
        ("query", QUERIES),
        ("service", SERVICE),
    )
]
