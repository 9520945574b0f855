"""What Dagster says of a pipeline at present, for its pages: runs, failures, late assets."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState

from pipeline_platform.operations.event_log import subject_of, why_failed
from pipeline_platform.operations.reports.reviewed import FailedRun, LateAsset, Present, Run
from pipeline_platform.orchestration.daemons import silent
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.history import covered_partitions
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.orchestration.pipeline_runs import PipelineRuns, belongs
from pipeline_platform.quality.thresholds import Severity
from pipeline_platform.runbook import Runbook
from pipeline_platform.warehouse.run_records import STOPPED

FAILURES_SINCE = timedelta(days=7)
RUNS_SINCE = timedelta(days=1)
SHOWN_FAILURES = 20
_SEVERITIES: dict[FreshnessState, Severity | None] = {
    FreshnessState.FAIL: "critical",
    FreshnessState.WARN: "warning",
}


def present_of(instance: dg.DagsterInstance, runbook: Runbook, now: datetime) -> Present:
    """Ask an instance about one pipeline."""
    records = instance.get_run_records(dg.RunsFilter(updated_after=now - RUNS_SINCE))
    return Present(
        unfinished_runs=unfinished_runs(instance),
        runs=[_run(one) for one in records if belongs(one.dagster_run, runbook.pipeline)],
        failed=_failed(instance, runbook, now),
        late=_late(instance, runbook),
        silent_daemons=[one.daemon for one in silent(instance, now)],
    )


def _failed(instance: dg.DagsterInstance, runbook: Runbook, now: datetime) -> list[FailedRun]:
    since = now - FAILURES_SINCE
    run_ids = PipelineRuns(instance, runbook.pipeline, since).unmended()[:SHOWN_FAILURES]
    records = instance.get_run_records(dg.RunsFilter(run_ids=run_ids)) if run_ids else []
    return [
        FailedRun(_run(one), subject_of(one.dagster_run), why_failed(instance, one.dagster_run))
        for one in records
    ]


def _late(instance: dg.DagsterInstance, runbook: Runbook) -> list[LateAsset]:
    """Return what is late or never was judged; what is fresh, or never made at all, is not."""
    keys = [dg.AssetKey(name.split("/")) for name in runbook.freshness]
    judged = instance.get_freshness_state_records(keys) if keys else {}
    made = {one.asset_entry.asset_key: one for one in instance.get_asset_records(keys)}
    late = []
    for key in keys:
        known = judged.get(key)
        state = FreshnessState.UNKNOWN if known is None else known.freshness_state
        if state in {FreshnessState.PASS, FreshnessState.NOT_APPLICABLE}:
            continue
        entry = made[key].asset_entry.last_materialization if key in made else None
        if entry is None and state == FreshnessState.UNKNOWN:
            continue
        since = None if entry is None else datetime.fromtimestamp(entry.timestamp, UTC)
        late.append(LateAsset(key.to_user_string(), _SEVERITIES.get(state), since))
    return late


def _run(record: dg.RunRecord) -> Run:
    run = record.dagster_run
    return Run(
        run_id=run.run_id,
        job=run.job_name,
        status=STOPPED if STOPPED_TAG in run.tags else run.status.value,
        partitions=covered_partitions(run),
        started_at=_instant(record.start_time),
        ended_at=_instant(record.end_time),
    )


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
