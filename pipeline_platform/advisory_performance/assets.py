"""The assets of advisory_performance: read, call a pure function, stage, audit, publish."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from pipeline_platform.advisory_performance import refinement
from pipeline_platform.advisory_performance.audit import SILVER_TABLES, contracts
from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.measurement import (
    MeasuredMonths,
    compare_versions,
    measure_range,
    reconcile_range,
)
from pipeline_platform.advisory_performance.months import rows_within
from pipeline_platform.advisory_performance.partitions import (
    MONTHLY,
    SELF_AND_MONTH_BEFORE,
    months_of_run,
)
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.advisory_performance.serving import serve_months
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    EXTERNAL_FLOWS,
    PIPELINE,
    RECONCILIATION,
    REPORTED_RETURNS,
    RESTATEMENTS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.reports.pages import markdown_table
from pipeline_platform.orchestration.automation import freshness_policies
from pipeline_platform.orchestration.checks import (
    expectation_result,
    expectation_specs,
    threshold_result,
    threshold_specs,
)
from pipeline_platform.orchestration.compute import ComputeSize
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.landing import incoming_asset, ingest_asset
from pipeline_platform.orchestration.marts import marts_asset
from pipeline_platform.orchestration.metadata import asset_key, table_spec
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.partition_ranges import dates_in, pieces
from pipeline_platform.quality.audit import judged, merged_results
from pipeline_platform.refinement import StagedSilver
from pipeline_platform.warehouse.reports import partition_sizes

LARGEST = 12
"""Of so many partitions the size is shown with the asset (SA-36); `reports partitions` has all."""
MONTHS_POOL = "advisory_performance_months"
FRESHNESS = freshness_policies(load_runbook())
SERVING = dg.AssetKey([PIPELINE, "serving", "performance_data"])


def _spec(table: LakeTable, *inputs: LakeTable) -> dg.AssetSpec:
    """Declare a lake table made from other ones, with the freshness that the runbook gives it."""
    return table_spec(
        table,
        deps=[asset_key(one) for one in inputs],
        freshness_policy=FRESHNESS.get(asset_key(table)),
    )


def _monthly(
    name: str, specs: Sequence[dg.AssetSpec], checks: Sequence[dg.AssetCheckSpec] = ()
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make assets of months: a range is one run, and one run at a time works on them."""
    return dg.multi_asset(
        name=f"{PIPELINE}_{name}",
        specs=specs,
        check_specs=checks,
        partitions_def=MONTHLY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=MONTHS_POOL,
    )


incoming = incoming_asset(PIPELINE)
vendor_rows = ingest_asset(
    VENDOR_ROWS, lambda services, run_id: VendorFiles(RunContext(services, run_id))
)


@_monthly(
    "silver",
    [_spec(table, VENDOR_ROWS) for table in SILVER_TABLES],
    [
        *(
            spec
            for table in SILVER_TABLES
            for spec in expectation_specs(asset_key(table), contracts()[table.name])
        ),
        *threshold_specs(load_runbook().blocking_thresholds),
    ],
)
def silver(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Type, judge and version the rows of months; publish only what passes its audit."""
    run = RunContext(config.sized(services), context.run.run_id)
    counts = dict.fromkeys((table.name for table in SILVER_TABLES), 0)
    audits: list[StagedSilver] = []
    with handled_failures(context):
        rows = dates_in(services.lake.partitions(VENDOR_ROWS))
        limit = rows_within(run.services.settings.memory_limit)
        for piece in run.while_running(pieces(months_of_run(context), rows, limit)):
            staged = refinement.stage_months(run, piece)
            audits.append(staged)
            if staged.objections:
                yield from _audit_results(audits)
            refinement.publish_months(run, staged)
            for name, count in staged.counts.items():
                counts[name] += count
    yield from _audit_results(audits)
    for table in SILVER_TABLES:
        yield dg.MaterializeResult(
            asset_key=asset_key(table),
            metadata={
                "dagster/row_count": counts[table.name],
                "quarantined_records": sum(len(one.rejected) for one in audits),
            },
        )


def _audit_results(audits: list[StagedSilver]) -> Iterator[dg.AssetCheckResult]:
    for table in SILVER_TABLES:
        for result in merged_results([one.audit for one in audits], table.name):
            yield expectation_result(asset_key(table), result)
    ledger = [entry for one in audits for entry in one.ledger]
    landed = [entry for one in audits for entry in one.landed]
    for threshold, measurement, verdict in judged(
        ledger, load_runbook().blocking_thresholds, landed
    ):
        yield threshold_result(threshold, measurement, verdict)


@_monthly(
    "returns",
    [
        _spec(table, VALUATIONS, EXTERNAL_FLOWS).merge_attributes(
            deps=[dg.AssetDep(asset_key(table), partition_mapping=SELF_AND_MONTH_BEFORE)]
        )
        for table in (TIME_WEIGHTED_RETURNS, ACCOUNT_STATES)
    ],
)
def returns(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> Iterator[dg.MaterializeResult[None]]:
    """Link daily returns month by month, each from the state in which the month before ended."""
    run = RunContext(config.sized(services), context.run.run_id)
    with handled_failures(context):
        measured = list(measure_range(run, months_of_run(context)))
    for table in (TIME_WEIGHTED_RETURNS, ACCOUNT_STATES):
        yield dg.MaterializeResult(
            asset_key=asset_key(table),
            metadata=_measured_metadata(measured, table.name),
        )


@_monthly(
    "reconciliation",
    [_spec(RECONCILIATION, TIME_WEIGHTED_RETURNS, REPORTED_RETURNS)],
)
def reconciliation(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> dg.MaterializeResult[None]:
    """Put our returns beside the vendors', rule on each figure and explain each break."""
    run = RunContext(config.sized(services), context.run.run_id)
    with handled_failures(context):
        measured = list(reconcile_range(run, months_of_run(context)))
    return dg.MaterializeResult(metadata=_measured_metadata(measured, RECONCILIATION.name))


@_monthly("restatements", [_spec(RESTATEMENTS, TIME_WEIGHTED_RETURNS, VALUATIONS)])
def restatements(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> dg.MaterializeResult[None]:
    """List what later deliveries changed and which changes are material."""
    run = RunContext(config.sized(services), context.run.run_id)
    with handled_failures(context):
        measured = list(compare_versions(run, months_of_run(context)))
    return dg.MaterializeResult(metadata=_measured_metadata(measured, RESTATEMENTS.name))


@_monthly(
    "performance_data",
    [
        dg.AssetSpec(
            SERVING,
            deps=[asset_key(TIME_WEIGHTED_RETURNS), asset_key(RECONCILIATION)],
            group_name=PIPELINE,
            kinds={"postgres"},
            tags={"layer": "serving"},
            description="Monthly partitions of performance_data: what applications read.",
            freshness_policy=FRESHNESS.get(SERVING),
        )
    ],
)
def performance_data(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> dg.MaterializeResult[None]:
    """Swap each month of gold into `performance_data` and complete the files that waited."""
    run = RunContext(config.sized(services), context.run.run_id)
    with handled_failures(context):
        served = list(serve_months(run, months_of_run(context)))
        with services.database.connection() as connection:
            sizes = partition_sizes(connection, "performance_data")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(month.row_count for month in served),
            "completed_files": sum(len(month.completed_files) for month in served),
            "bytes": sum(one["total_bytes"] for one in sizes),
            "largest_partitions": dg.MetadataValue.md(markdown_table(sizes[:LARGEST])),
        }
    )


marts = marts_asset(
    MARTS, partitions_def=MONTHLY, partitions_of_run=months_of_run, pool=MONTHS_POOL
)


def _measured_metadata(measured: list[MeasuredMonths], table: str) -> dict[str, int]:
    metadata = {"dagster/row_count": sum(piece.row_count for piece in measured)}
    if measured and table in measured[-1].snapshot_ids:
        metadata["snapshot_id"] = measured[-1].snapshot_ids[table]
    counts = [one.measured_accounts for one in measured if one.measured_accounts is not None]
    if counts:
        metadata["measured_accounts"] = sum(counts)
    return metadata


INGEST_KEYS = [asset_key(VENDOR_ROWS)]
MONTHLY_KEYS = [
    *(
        asset_key(table)
        for table in (
            *SILVER_TABLES,
            TIME_WEIGHTED_RETURNS,
            ACCOUNT_STATES,
            RECONCILIATION,
            RESTATEMENTS,
            *MARTS.tables,
        )
    ),
    SERVING,
]
RECONCILE_KEYS = [
    *(asset_key(table) for table in (RECONCILIATION, *MARTS.tables)),
    SERVING,
]
MONTHLY_ASSETS: list[dg.AssetsDefinition] = [
    silver,
    returns,
    reconciliation,
    restatements,
    marts,
    performance_data,
]
ASSETS: list[dg.AssetsDefinition | dg.SourceAsset] = [incoming, vendor_rows, *MONTHLY_ASSETS]
