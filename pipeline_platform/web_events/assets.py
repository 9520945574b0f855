"""The assets of web_events: read, compute, stage, audit, publish."""

from collections.abc import Iterator

import dagster as dg

from pipeline_platform.lake.tables import LakeTable
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
from pipeline_platform.quality.audit import judged, merged_results
from pipeline_platform.refinement import StagedSilver
from pipeline_platform.web_events.ingestion import event_files
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.partitions import DAILY, days_of_run
from pipeline_platform.web_events.refinement import contract, refine_days
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS

FRESHNESS = freshness_policies(load_runbook())
BLOCKING = load_runbook().blocking_thresholds
PROCESS_HISTORICAL_DATA = "process_historical_data"
"""The step that works on a range of days, whatever their age; backfills run it (SW-12)."""

incoming = incoming_asset(PIPELINE)
raw_events = ingest_asset(
    RAW_EVENTS,
    event_files,
    FRESHNESS.get(asset_key(RAW_EVENTS)),
)


def _spec(table: LakeTable, *inputs: LakeTable) -> dg.AssetSpec:
    """Declare a lake table made from other ones, with the freshness that the runbook gives it."""
    return table_spec(
        table,
        deps=[asset_key(one) for one in inputs],
        freshness_policy=FRESHNESS.get(asset_key(table)),
    )


@dg.multi_asset(
    name=PROCESS_HISTORICAL_DATA,
    specs=[_spec(WEB_EVENTS, RAW_EVENTS)],
    check_specs=[
        *expectation_specs(asset_key(WEB_EVENTS), contract()),
        *threshold_specs(BLOCKING),
    ],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def web_events(
    context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Type, deduplicate, sessionise, label and score days; publish only what passes its audit."""
    run = RunContext(config.sized(services), context.run.run_id)
    days = days_of_run(context)
    audits: list[StagedSilver] = []
    with handled_failures(context):
        for silver in refine_days(run, days):
            audits.append(silver)
            if silver.objections:
                yield from _audit_results(audits)
    yield from _audit_results(audits)
    yield dg.MaterializeResult(
        asset_key=asset_key(WEB_EVENTS),
        metadata={
            "dagster/row_count": sum(one.counts[WEB_EVENTS.name] for one in audits),
            "duplicates": sum(entry.deduplicated for one in audits for entry in one.ledger),
            "days_to_repeat": sorted({str(day) for one in audits for day in one.outdated}),
        },
    )


def _audit_results(audits: list[StagedSilver]) -> Iterator[dg.AssetCheckResult]:
    for result in merged_results([one.audit for one in audits], WEB_EVENTS.name):
        yield expectation_result(asset_key(WEB_EVENTS), result)
    ledger = [entry for one in audits for entry in one.ledger]
    landed = [entry for one in audits for entry in one.landed]
    for threshold, measurement, verdict in judged(ledger, BLOCKING, landed):
        yield threshold_result(threshold, measurement, verdict)


marts = marts_asset(
    MARTS,
    partitions_def=DAILY,
    partitions_of_run=days_of_run,
    pool=f"{PIPELINE}_marts",
)

INGEST_KEYS = [asset_key(RAW_EVENTS)]
DAILY_KEYS = [asset_key(table) for table in (WEB_EVENTS, *MARTS.tables)]
ASSETS: list[dg.AssetsDefinition | dg.SourceAsset] = [incoming, raw_events, web_events, marts]
