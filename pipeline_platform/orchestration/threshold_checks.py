"""A runbook's thresholds as asset checks: measured in a pipeline's `measures.py`, reported here."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import dagster as dg

from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)
from pipeline_platform.orchestration.checks import threshold_result, threshold_specs
from pipeline_platform.orchestration.pipeline_runs import PipelineRuns
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.partition_ranges import Unit, date_range
from pipeline_platform.quality.issues import record_issues, threshold_issue
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.measures import RUN_WINDOW
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.quality.thresholds import Stage, Threshold
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services

Measured = Callable[[Threshold], tuple[Measurement, Verdict]]
"""Measures one threshold and judges it."""

MeasuredBy = Callable[[dg.AssetCheckExecutionContext, Services], Measured]


def thresholds_of(runbook: Runbook, *stages: Stage) -> list[Threshold]:
    """Return the thresholds of some stages, without those that block silver's publication."""
    blocking = {threshold.name for threshold in runbook.blocking_thresholds}
    return [
        threshold
        for threshold in runbook.thresholds.values()
        if threshold.stage in stages and threshold.name not in blocking
    ]


def check_keys(thresholds: Sequence[Threshold]) -> list[dg.AssetCheckKey]:
    """Return the keys of thresholds' checks."""
    return [
        dg.AssetCheckKey(dg.AssetKey(threshold.asset.split("/")), threshold.check)
        for threshold in thresholds
    ]


def threshold_checks(
    runbook: Runbook, name: str, thresholds: Sequence[Threshold], measured_by: MeasuredBy
) -> dg.AssetChecksDefinition:
    """Declare checks that measure thresholds, keep every observation and record each failure.

    `measured_by` is asked once per run for what measures a threshold.
    """

    @dg.multi_asset_check(
        name=f"{runbook.pipeline}_{name}_checks",
        specs=threshold_specs(thresholds),
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, services: ServicesParam
    ) -> Iterator[dg.AssetCheckResult]:
        measured = measured_by(context, services)
        names = {one.check: one.name for one in thresholds}
        for key in context.selected_asset_check_keys:
            threshold = runbook.thresholds[names[key.name]]
            measurement, verdict = measured(threshold)
            record_measured(
                services, runbook.pipeline, threshold, measurement, verdict, context.run.run_id
            )
            yield threshold_result(threshold, measurement, verdict)

    return check


def partitions_of_run(
    context: dg.AssetCheckExecutionContext, unit: Unit
) -> tuple[date, ...] | None:
    """Return the partitions that the run covers, or None when it has none."""
    tags = context.run.tags
    one = tags.get(ONE_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, one), tags.get(RANGE_END_TAG, one)
    if first and last:
        return tuple(date_range(unit, date.fromisoformat(first), date.fromisoformat(last)))
    return None


def pipeline_runs(context: dg.AssetCheckExecutionContext, pipeline: str) -> PipelineRuns:
    """Return the pipeline's runs of the window that thresholds on runs look at."""
    return PipelineRuns(context.instance, pipeline, utc_now() - RUN_WINDOW)


def record_measured(
    services: Services,
    pipeline: str,
    threshold: Threshold,
    measurement: Measurement,
    verdict: Verdict,
    run_id: str,
) -> None:
    """Keep the observation, and write an issue for a failure."""
    issue = threshold_issue(
        pipeline, measurement, verdict, table_name=threshold.asset, run_id=run_id
    )
    with services.database.transaction() as connection:
        record_verdict(
            connection,
            pipeline,
            verdict,
            now=utc_now(),
            asset_key=threshold.asset,
            run_id=run_id,
        )
        record_issues(connection, [issue] if issue else [], now=utc_now())
