"""The runbook's thresholds as asset checks, each measured in one place (`measures.py`).

Checks of a month's rows run with the workflow that wrote them; checks of the service and of the
landing zone run by schedule, too. The blocking ones of silver are part of the asset itself.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from pipeline_platform.advisory_performance import measures
from pipeline_platform.advisory_performance.assets import ServicesParam
from pipeline_platform.advisory_performance.audit import blocking_thresholds
from pipeline_platform.advisory_performance.months import month_range, months_in
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.advisory_performance.tables import PIPELINE, TIME_WEIGHTED_RETURNS
from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)
from pipeline_platform.orchestration.checks import threshold_result, threshold_specs
from pipeline_platform.quality.issues import record_issues, threshold_issue
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.quality.thresholds import Stage, Threshold
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services

ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
LATEST_MONTHS = 2


def _thresholds(*stages: Stage) -> list[Threshold]:
    blocking = {threshold.name for threshold in blocking_thresholds(load_runbook())}
    return [
        threshold
        for threshold in load_runbook().thresholds.values()
        if threshold.stage in stages and threshold.name not in blocking
    ]


def _keys(thresholds: Sequence[Threshold]) -> list[dg.AssetCheckKey]:
    return [
        dg.AssetCheckKey(dg.AssetKey(threshold.asset.split("/")), threshold.name)
        for threshold in thresholds
    ]


def _results(
    context: dg.AssetCheckExecutionContext, services: Services
) -> Iterator[dg.AssetCheckResult]:
    """Measure the selected thresholds, keep every observation and write an issue per failure."""
    run = RunContext(services, context.run.run_id)
    scope = measures.Scope(run, _months(context, services), _runs_succeeded(context))
    for key in context.selected_asset_check_keys:
        threshold = load_runbook().thresholds[key.name]
        measurement, verdict = measures.measure(scope, threshold)
        issue = threshold_issue(
            PIPELINE, measurement, verdict, table_name=threshold.asset, run_id=run.run_id
        )
        with services.database.transaction() as connection:
            record_verdict(
                connection,
                PIPELINE,
                verdict,
                now=run.now(),
                asset_key=threshold.asset,
                run_id=run.run_id,
            )
            record_issues(connection, [issue] if issue else [], now=run.now())
        yield threshold_result(threshold, measurement, verdict)


def _months(context: dg.AssetCheckExecutionContext, services: Services) -> tuple[date, ...]:
    """Return the months of the run, or the latest ones when the run has none."""
    tags = context.run.tags
    one = tags.get(ONE_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, one), tags.get(RANGE_END_TAG, one)
    if first and last:
        return tuple(month_range(date.fromisoformat(first), date.fromisoformat(last)))
    present = months_in(services.lake.partitions(TIME_WEIGHTED_RETURNS))
    return tuple(present)[-LATEST_MONTHS:]


def _runs_succeeded(context: dg.AssetCheckExecutionContext) -> tuple[tuple[str, bool], ...]:
    """Return how the pipeline's runs of the last seven days ended, this run left out."""
    since = utc_now() - measures.RUN_WINDOW
    records = context.instance.get_run_records(dg.RunsFilter(updated_after=since))
    return tuple(
        (run.run_id, run.status == dg.DagsterRunStatus.SUCCESS)
        for run in (record.dagster_run for record in records)
        if run.status in ENDED and run.job_name.startswith(PIPELINE)
    )


def _check(name: str, thresholds: Sequence[Threshold]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{PIPELINE}_{name}_checks", specs=threshold_specs(thresholds), can_subset=True
    )
    def check(
        context: dg.AssetCheckExecutionContext, services: ServicesParam
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _results(context, services)

    return check


LANDING = _thresholds("landing", "bronze")
SILVER = _thresholds("silver")
GOLD = _thresholds("gold")
SERVICE = _thresholds("serving", "service")
INGEST_CHECK_KEYS = _keys(LANDING)
MONTH_CHECK_KEYS = _keys([*SILVER, *GOLD])
SERVICE_CHECK_KEYS = _keys(SERVICE)
CHECKS = [
    _check("landing", LANDING),
    _check("silver", SILVER),
    _check("gold", GOLD),
    _check("service", SERVICE),
]
