"""What Dagster remembers, as findings: runs that ended, checks that were evaluated, late assets.

Events are read in the order of their numbers, a bounded part at a time. Numbers are given before
events can be seen, so one with a smaller number may appear after one with a greater: the last two
minutes are read again each time, and a fault knows which event it has seen.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState

from pipeline_platform.operations.alerting import Reading
from pipeline_platform.operations.faults import ALL_DAYS, Days, Finding
from pipeline_platform.operations.watchers import daemon_findings, stuck_run_findings
from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.history import outcome_of
from pipeline_platform.quality.thresholds import Severity, Stage, Threshold
from pipeline_platform.runbook import Alerting, Runbook

EVENTS_AT_ONCE = 1000
READ_AGAIN = timedelta(minutes=2)
TOUCHED_AT_MOST = 30
SENTENCE_LENGTH = 600
AD_HOC_JOB = "__ASSET_JOB"
_CHECK, _FAILED, _SUCCEEDED = (
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
)
_WITHOUT_PARTITIONS: frozenset[Stage] = frozenset(
    {"landing", "bronze", "service", "cost", "recovery", "checks"}
)
"""Thresholds of these stages look at the present, whatever partitions their run is about."""
_CREDENTIALS = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True)
class EventLog:
    """Reads an instance, with the graph and the runbooks that say what its events mean."""

    instance: dg.DagsterInstance
    graph: AssetGraph
    alertings: Mapping[str, Alerting]
    is_watching_freshness: bool = True
    _runs: dict[str, dg.DagsterRun] = field(default_factory=dict)

    def read(self, positions: Mapping[str, int], now: datetime) -> Reading:
        """Return what is new behind the positions, and at its end what is so at present.

        That is which assets are late, whether the daemon lives, and which runs are stuck.
        """
        reached = dict(positions)
        findings: list[Finding] = []
        is_complete = True
        for kind in (_CHECK, _FAILED, _SUCCEEDED):
            records = self.instance.event_log_storage.get_event_records(
                dg.EventRecordsFilter(kind, after_cursor=positions.get(kind.value)),
                limit=EVENTS_AT_ONCE,
                ascending=True,
            )
            self._remember_runs({one.run_id for one in records})
            is_part = len(records) == EVENTS_AT_ONCE
            is_complete = is_complete and not is_part
            settled = (now - READ_AGAIN).timestamp()
            # A full part is left behind as a whole, else the same part would be read for ever.
            done = [one.storage_id for one in records if is_part or one.timestamp < settled]
            reached.update({kind.value: max(done)} if done else {})
            for record in records:
                findings += self._of_check(record) if kind == _CHECK else self._of_run(record, kind)
        if is_complete and self.is_watching_freshness:
            findings += self._of_freshness(now)
            findings += daemon_findings(self.instance, self.alertings, now)
            findings += stuck_run_findings(self.instance, self.alertings, now)
        ordered = sorted(findings, key=lambda one: (one.event_id is None, one.event_id or 0))
        return Reading(tuple(ordered), reached, is_complete)

    @cached_property
    def _thresholds(self) -> Mapping[tuple[str, str], tuple[Runbook, Threshold]]:
        """By asset and check: a rule on cost stands in another runbook than its asset's."""
        return {
            (threshold.asset, threshold.check): (runbook, threshold)
            for runbook in self.alertings.values()
            if isinstance(runbook, Runbook)
            for threshold in runbook.thresholds.values()
        }

    def _of_check(self, record: dg.EventLogRecord) -> list[Finding]:
        event = record.event_log_entry.get_dagster_event()
        evaluation = event.asset_check_evaluation_data
        asset = evaluation.asset_key.to_user_string()
        runbook, threshold = self._thresholds.get((asset, evaluation.check_name), (None, None))
        alerting = runbook or self.alertings.get(_owner(evaluation))
        outcome = outcome_of(evaluation)
        is_told = threshold is None or threshold.is_told
        if alerting is None or not is_told or outcome not in {"pass", "fail"}:
            return []
        run = self._runs.get(record.run_id)
        has_days = threshold is None or threshold.stage not in _WITHOUT_PARTITIONS
        days = self._days(run, [evaluation.asset_key]) if has_days else ALL_DAYS
        severity, route, minutes = self._routed(evaluation, alerting, threshold)
        remedy = (threshold and threshold.remedy) or alerting.routes[route].remedy
        told = evaluation.description or f"The check {evaluation.check_name} of {asset} failed."
        return [
            Finding(
                pipeline=alerting.pipeline,
                name=f"check:{asset}:{evaluation.check_name}",
                kind="check",
                subject=asset,
                is_fine=outcome == "pass",
                at=datetime.fromtimestamp(record.timestamp, UTC),
                event_id=record.storage_id,
                days=days,
                run_id=record.run_id,
                severity=severity,
                route=route,
                response_minutes=minutes,
                sentence=_told(told),
                touches=self._downstream([evaluation.asset_key]),
                remedy=remedy.filled(pipeline=alerting.pipeline, asset=asset, run=record.run_id),
                follows_failed_runs=bool(threshold and threshold.follows_failed_runs),
            )
        ]

    def _routed(
        self,
        evaluation: dg.AssetCheckEvaluation,
        alerting: Alerting,
        threshold: Threshold | None,
    ) -> tuple[Severity, str, int]:
        """Return severity, route and response time.

        Of the broken band, else of the route that the check itself names, else of the contract.
        """
        metadata = evaluation.metadata
        route = str(metadata["route"].value) if "route" in metadata else ""
        if threshold is not None:
            broken = next((one for one in threshold.bands if one.route == route), None)
            band = broken or threshold.severest_first[-1]
            return band.severity, band.route, band.response_minutes
        if route in alerting.routes:
            named = alerting.routes[route].severity
            return named, route, alerting.response_minutes(route)
        is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        severity: Severity = "critical" if is_error else "warning"
        contracts = alerting.alerts.contracts[severity]
        return severity, contracts, alerting.response_minutes(contracts)

    def _of_run(self, record: dg.EventLogRecord, kind: dg.DagsterEventType) -> list[Finding]:
        run = self._runs.get(record.run_id)
        alerting = None if run is None else self._alerting_of(run)
        if run is None or alerting is None or STOPPED_TAG in run.tags:
            return []
        assets, subject = sorted(run.asset_selection or ()), subject_of(run)
        is_fine = kind == _SUCCEEDED
        route = alerting.routes[alerting.alerts.failed_runs]
        is_ingest = run.job_name == f"{alerting.pipeline}_ingest"
        remedy = (is_ingest and alerting.alerts.failed_ingests) or route.remedy
        planned = assets if is_fine or assets else self._planned(run.run_id)
        return [
            Finding(
                pipeline=alerting.pipeline,
                name=f"run:{subject}",
                kind="run",
                subject=subject,
                is_fine=is_fine,
                at=datetime.fromtimestamp(record.timestamp, UTC),
                event_id=record.storage_id,
                days=self._days(run, planned or self._assets_of_pipeline(alerting.pipeline)),
                run_id=run.run_id,
                severity=route.severity,
                route=alerting.alerts.failed_runs,
                response_minutes=alerting.response_minutes(alerting.alerts.failed_runs),
                sentence="" if is_fine else why_failed(self.instance, run),
                touches=() if is_fine else self._downstream(planned, with_themselves=True),
                remedy=remedy.filled(pipeline=alerting.pipeline, asset=subject, run=run.run_id),
            )
        ]

    def _of_freshness(self, now: datetime) -> list[Finding]:
        """Look at each asset that has a policy; one that was never judged says nothing."""
        keys = [key for key in self.graph.get_all_asset_keys() if self._has_freshness(key)]
        records = self.instance.get_freshness_state_records(keys) if keys else {}
        findings = []
        for key, record in sorted(records.items()):
            alerting = self.alertings.get(key.path[0])
            state = record.freshness_state
            if alerting is None or state not in {
                FreshnessState.PASS,
                FreshnessState.WARN,
                FreshnessState.FAIL,
            }:
                continue
            asset = key.to_user_string()
            severity: Severity = "critical" if state == FreshnessState.FAIL else "warning"
            route = alerting.alerts.overdue[severity]
            word = "is overdue" if severity == "critical" else "will soon be overdue"
            findings.append(
                Finding(
                    pipeline=alerting.pipeline,
                    name=f"overdue:{asset}",
                    kind="overdue",
                    subject=asset,
                    is_fine=state == FreshnessState.PASS,
                    at=min(record.updated_at, now),
                    severity=severity,
                    route=route,
                    response_minutes=alerting.response_minutes(route),
                    sentence=f"{asset} {word}: its last data are older than its runbook allows.",
                    touches=self._downstream([key]),
                    remedy=alerting.routes[route].remedy.filled(
                        pipeline=alerting.pipeline, asset=asset, run=""
                    ),
                    follows_failed_runs=True,
                )
            )
        return findings

    def _has_freshness(self, key: dg.AssetKey) -> bool:
        return self.graph.get(key).freshness_policy is not None

    def _remember_runs(self, run_ids: Iterable[str]) -> None:
        # A run that has not ended may still get tags, such as that somebody stopped it.
        ended = {run_id for run_id, run in self._runs.items() if run.is_finished}
        wanted = [one for one in run_ids if one not in ended]
        if wanted:
            found = self.instance.get_runs(dg.RunsFilter(run_ids=wanted))
            self._runs.update({run.run_id: run for run in found})

    def _alerting_of(self, run: dg.DagsterRun) -> Alerting | None:
        """Return whose run it is: by its job's name, else by the assets that it was started for."""
        owners = {key.path[0] for key in run.asset_selection or ()}
        return next(
            (
                alerting
                for name, alerting in self.alertings.items()
                if run.job_name.startswith(f"{name}_") or run.job_name == name or name in owners
            ),
            None,
        )

    def _assets_of_pipeline(self, pipeline: str) -> list[dg.AssetKey]:
        return [key for key in self.graph.get_all_asset_keys() if key.path[0] == pipeline]

    def _days(self, run: dg.DagsterRun | None, assets: Sequence[dg.AssetKey]) -> Days:
        """Return the days that a run's partitions have; all days of a run without partitions."""
        tags = run.tags if run is not None else {}
        one = tags.get(ONE_PARTITION_TAG)
        first, last = tags.get(RANGE_START_TAG, one), tags.get(RANGE_END_TAG, one)
        definitions = (self.graph.get(key).partitions_def for key in assets if self.graph.has(key))
        for partitions in definitions:
            if not (first and last and isinstance(partitions, dg.TimeWindowPartitionsDefinition)):
                continue
            try:
                start = partitions.time_window_for_partition_key(first).start.date()
                end = partitions.time_window_for_partition_key(last).end.date()
            except (dg.DagsterInvalidDefinitionError, ValueError):
                continue
            return ((start, end),) if start < end else ALL_DAYS
        return ALL_DAYS

    def _planned(self, run_id: str) -> list[dg.AssetKey]:
        """Return the assets that a run was to make."""
        records = self.instance.get_records_for_run(
            run_id,
            of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
            limit=TOUCHED_AT_MOST,
        ).records
        events = [record.event_log_entry.get_dagster_event() for record in records]
        return [event.asset_key for event in events if event.asset_key is not None]

    def _downstream(
        self, assets: Sequence[dg.AssetKey], *, with_themselves: bool = False
    ) -> tuple[str, ...]:
        """Return what is made from assets, directly or not; a bounded number."""
        seen: dict[dg.AssetKey, None] = dict.fromkeys(assets)
        waiting = list(assets)
        while waiting and len(seen) < TOUCHED_AT_MOST + len(assets):
            key = waiting.pop(0)
            if not self.graph.has(key):
                continue
            for child in sorted(self.graph.get(key).child_keys):
                if child not in seen:
                    seen[child] = None
                    waiting.append(child)
        own = set() if with_themselves else set(assets)
        return tuple(key.to_user_string() for key in seen if key not in own)


def _owner(evaluation: dg.AssetCheckEvaluation) -> str:
    """Return whose check it is: whom its result names, else whom its asset is of."""
    named = evaluation.metadata.get("pipeline")
    return str(named.value) if named is not None else evaluation.asset_key.path[0]


def subject_of(run: dg.DagsterRun) -> str:
    """Return what a run is told as: its job, or its assets if it was started for some in the UI."""
    if not run.job_name.startswith(AD_HOC_JOB):
        return run.job_name
    assets = sorted(run.asset_selection or ())
    return ", ".join(key.to_user_string() for key in assets)[:SENTENCE_LENGTH]


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Say which step failed and why, without what may hold a secret."""
    records = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1
    ).records
    head = f"A run of {run.job_name} failed"
    if not records:
        return f"{head} before or between its steps."
    event = records[0].event_log_entry.get_dagster_event()
    data = event.step_failure_data
    reason = data.user_failure_data.description if data.user_failure_data else None
    if not reason and data.error is not None:
        cause = data.error.cause or data.error
        reason = cause.message
    return _told(f"{head} in {event.step_key}: {' '.join((reason or 'unknown').split())}")


def _told(text: str) -> str:
    """Return a sentence of bounded length, in which no address shows who logs in."""
    hidden = _CREDENTIALS.sub("://***@", text)
    return hidden if len(hidden) <= SENTENCE_LENGTH else f"{hidden[: SENTENCE_LENGTH - 1]}…"
