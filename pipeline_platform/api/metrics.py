"""`GET /metrics`: figures of every pipeline and of what it runs on, for Prometheus or as JSON.

JSON unless `Accept` asks for text, as Prometheus does (SC-2, X-18). Each section is read from the
tables that the work itself writes; one that can't be read is named in
`metrics_section_failed` and leaves the others alone.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline_platform.api.machine_metrics import (
    capacity_limits,
    database_state,
    gauge,
    host_state,
    kept_files,
    sizes,
)
from pipeline_platform.api.platform import Platform
from pipeline_platform.api.problems import responses
from pipeline_platform.api.run_metrics import run_state
from pipeline_platform.api.security import Reader
from pipeline_platform.api.sharing import Shared
from pipeline_platform.operations.service_levels import stored_figures
from pipeline_platform.orchestration.automation import earliest_in_time
from pipeline_platform.partition_ranges import ONE_DAY
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import figures
from pipeline_platform.warehouse.lake_queries import latest_queries
from pipeline_platform.warehouse.stops import EVERYTHING, stops

SHARED_SECONDS = 5.0
SIZES_SHARED_SECONDS = 60.0
"""Tables and folders change slowly, and each has to be asked for."""
KEPT_FILES_SHARED_SECONDS = 1800.0
"""An archive of years is listed whole."""
SCORE_CHECK = "data_quality_score"
CAPTURE_JOBS = "_stream"
"""Jobs that capture changes from a source as they come have names that end so."""
_log = logging.getLogger("pipeline_platform.api")
router = APIRouter(tags=["metrics"])
Families = Iterable[Metric]


class Metrics:
    """Reads every section; shared by all who scrape within a few seconds."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._sizes = Shared(lambda: list(sizes(platform)), SIZES_SHARED_SECONDS)
        self._kept_files = Shared(lambda: list(kept_files(platform)), KEPT_FILES_SHARED_SECONDS)
        self.shared = Shared(self.families, SHARED_SECONDS)
        self._sections: dict[str, Callable[[], Families]] = {
            "runs": lambda: run_state(platform),
            "freshness": self._freshness,
            "checks": self._checks,
            "arrivals": self._arrivals,
            "incidents": self._incidents,
            "stops": self._stops,
            "database": lambda: database_state(platform),
            "sizes": self._sizes.get,
            "kept files": self._kept_files.get,
            "lake queries": self._lake_queries,
            "capacity": lambda: capacity_limits(platform),
            "host": lambda: host_state(platform),
        }

    def families(self) -> list[Metric]:
        """Read every section anew; raise nothing."""
        found: list[Metric] = []
        failed = gauge("metrics_section_failed", "1 if a section can't be read now.", ["section"])
        for name, read in self._sections.items():
            is_failed = 0
            try:
                found += read()
            except Exception as error:
                _log.warning("Metrics of %s can't be read: %s", name, type(error).__name__)
                is_failed = 1
            failed.add_metric([name], is_failed)
        return [*found, failed]

    def _freshness(self) -> Iterator[Metric]:
        now = utc_now()
        age = gauge(
            "pipeline_freshness_seconds",
            "Since an asset with a freshness was last materialized.",
            ["pipeline", "asset"],
        )
        missed = gauge(
            "pipeline_deadline_missed",
            "1 if an asset with a deadline was not materialized in time for the last one.",
            ["pipeline", "asset"],
        )
        for pipeline, runbook in self._platform.runbooks.items():
            for asset, at in self._platform.history.last_materialized(runbook.freshness).items():
                if at is None:
                    continue
                age.add_metric([pipeline, asset], (now - at).total_seconds())
                earliest = earliest_in_time(runbook.freshness[asset], now)
                if earliest is not None:
                    missed.add_metric([pipeline, asset], at < earliest)
        active = gauge("active_capture_engines", "Runs that capture changes now (SC-2).")
        active.add_metric([], self._platform.history.count_unfinished(CAPTURE_JOBS))
        yield from (age, missed, active)

    def _lake_queries(self) -> Iterator[Metric]:
        """Yield what the latest of each query over the lake took and read, of the last day."""
        with self._platform.services.database.connection() as connection:
            latest = latest_queries(connection, utc_now() - ONE_DAY)
        labels = ["pipeline", "query"]
        seconds = gauge("lake_query_seconds", "How long it took (SW-23).", labels)
        read = {
            "bytes": gauge("lake_query_bytes", "Bytes of the files that it opened.", labels),
            "files": gauge("lake_query_files", "Files that it opened.", labels),
        }
        for one in latest:
            seconds.add_metric([one.pipeline, one.name], one.seconds)
            for what, family in read.items():
                family.add_metric([one.pipeline, one.name], one.total(what))
        yield from (seconds, *read.values())

    def _checks(self) -> Iterator[Metric]:
        with self._platform.services.database.connection() as connection:
            checks = figures.latest_observations(connection)
            issues = figures.open_issues(connection)
        labels = ["pipeline", "check", "asset"]
        outcome = gauge(
            "pipeline_check_outcome",
            "1 for the latest outcome of each check.",
            [*labels, "outcome", "severity"],
        )
        value = gauge("pipeline_check_value", "What each check observed last.", labels)
        limit = gauge("pipeline_check_limit", "The limit of each check's latest outcome.", labels)
        score = gauge("pipeline_data_quality_score", "0 to 100 (X-2).", ["pipeline"])
        observed = gauge(
            "pipeline_check_observed_timestamp",
            "When each check was evaluated last, 0 if it never was (SP-16, B-14).",
            labels,
        )
        declared = {
            (pipeline, threshold.name): threshold.asset
            for pipeline, runbook in self._platform.runbooks.items()
            for threshold in runbook.thresholds.values()
        }
        never = dict(declared)
        for row in checks:
            names = [row["pipeline"], row["check_name"], row["asset_key"] or ""]
            key = (row["pipeline"], row["check_name"])
            never.pop(key, None)
            # One that no runbook has any more is not evaluated, and not overdue either.
            if key in declared:
                observed.add_metric(names, row["observed_at"].timestamp())
            outcome.add_metric([*names, row["outcome"], row["severity"] or ""], 1)
            if row["value"] is not None:
                value.add_metric(names, row["value"])
            if row["limit_value"] is not None:
                limit.add_metric(names, row["limit_value"])
            if row["check_name"] == SCORE_CHECK and row["value"] is not None:
                scale = score_scale(self._platform, row["pipeline"])
                score.add_metric([row["pipeline"]], row["value"] * scale)
        for (pipeline, name), asset in never.items():
            observed.add_metric([pipeline, name, asset], 0)
        opened = gauge("pipeline_open_issues", "Unresolved issues.", ["pipeline", "severity"])
        for row in issues:
            opened.add_metric([row["pipeline"], row["severity"]], row["open_issues"])
        yield from (outcome, value, limit, observed, score, opened)

    def _arrivals(self) -> Iterator[Metric]:
        now = utc_now()
        with self._platform.services.database.connection() as connection:
            files = figures.files_since(connection, now - ONE_DAY)
            waiting = figures.waiting_partitions(connection)
            held = figures.held_in_quarantine(connection)
            streams = figures.stream_lags(connection, now - ONE_DAY)
            cost = figures.latest_cost(connection)
        labels = ["pipeline", "status"]
        columns = {
            "files": gauge("pipeline_files", "Files begun in 24 hours.", labels),
            "records": gauge("pipeline_records", "Records of files of 24 hours.", labels),
            "latency_seconds": gauge(
                "pipeline_latency_seconds_max",
                "Slowest file of 24 hours, arrival to served (SA-82).",
                labels,
            ),
            "start_delay_seconds": gauge(
                "pipeline_start_delay_seconds_max",
                "Longest wait of a file of 24 hours for its run (SA-56).",
                labels,
            ),
            "duration_seconds": gauge(
                "pipeline_file_duration_seconds_max",
                "Longest processing of a file of 24 hours (SA-86).",
                labels,
            ),
        }
        for row in files:
            for name, family in columns.items():
                if row[name] is not None:
                    family.add_metric([row["pipeline"], row["status"].lower()], float(row[name]))
        yield from columns.values()
        pending = gauge("pipeline_waiting_partitions", "Requested and not done.", ["pipeline"])
        for row in waiting:
            pending.add_metric([row["pipeline"]], row["partitions"])
        quarantine = gauge(
            "pipeline_quarantine_held", "Held and not resolved.", ["pipeline", "kind"]
        )
        for row in held:
            quarantine.add_metric([row["pipeline"], row["kind"]], row["held"])
        lag = gauge(
            "pipeline_stream_lag_seconds",
            "Behind the stream's newest record (SW-55).",
            ["pipeline", "stream"],
        )
        for row in streams:
            if row["millis_behind_latest"] is not None:
                lag.add_metric([row["pipeline"], row["stream"]], row["millis_behind_latest"] / 1000)
        spent = gauge("platform_cost", "Blended cost of the last settled day.", ["currency"])
        for row in cost:
            spent.add_metric([row["currency"] or ""], row["amount"])
        yield from (pending, quarantine, lag, spent)

    def _incidents(self) -> Iterator[Metric]:
        services, now = self._platform.services, utc_now()
        with services.database.connection() as connection:
            severities = figures.open_incidents(connection)
        labels = ["pipeline"]
        opened = gauge("pipeline_open_incidents", "Not resolved (XC-4).", [*labels, "severity"])
        for row in severities:
            opened.add_metric([row["pipeline"], row["severity"]], row["incidents"])
        columns = {
            "availability_pct": gauge(
                "pipeline_availability_pct", "Of this month's watched time (SA-88).", labels
            ),
            "budget_left_minutes": gauge(
                "pipeline_error_budget_left_minutes", "Of this month (SA-88).", labels
            ),
            "recover_minutes": gauge(
                "pipeline_recovery_minutes", "Mean time to recovery this month (SA-81).", labels
            ),
        }
        for one in stored_figures(services, 1, now):
            for name, family in columns.items():
                if getattr(one, name) is not None:
                    family.add_metric([one.pipeline], getattr(one, name))
        yield from (opened, *columns.values())

    def _stops(self) -> Iterator[Metric]:
        with self._platform.services.database.connection() as connection:
            stopped = stops(connection)
        family = gauge("pipeline_stopped", "1 while it is stopped (XC-5).", ["pipeline"])
        for pipeline in self._platform.pipelines:
            family.add_metric([pipeline], pipeline in stopped or EVERYTHING in stopped)
        yield family


def score_scale(platform: Platform, pipeline: str) -> float:
    """Return what makes a pipeline's quality score one of 0 to 100 (X-2)."""
    runbook = platform.runbooks.get(pipeline)
    threshold = runbook.thresholds.get(SCORE_CHECK) if runbook else None
    return 100.0 if threshold is not None and threshold.unit == "points of 1" else 1.0


class _Read:
    """A collector of families that were read already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def as_text(families: Iterable[Metric]) -> bytes:
    """Return families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Read(families))
    return generate_latest(registry)


def as_json(families: Iterable[Metric]) -> Mapping[str, object]:
    """Return families by name, each a list of labels and value; the runbook's name on top."""
    found: dict[str, list[dict[str, object]]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append({**sample.labels, "value": sample.value})
    engines = found.get("active_capture_engines")
    return {
        "activeCDCEngines": engines[0]["value"] if engines else None,
        "generated_at": utc_now().isoformat(),
        "metrics": found,
    }


@router.get("/metrics", responses=responses(401, 403, 429))
def metrics(request: Request, _: Reader) -> Response:
    """Return every figure: JSON, or Prometheus' text if `Accept` asks for text."""
    shared: Metrics = request.app.state.metrics
    families = shared.shared.get()
    accepted = request.headers.get("accept", "")
    if "text/plain" in accepted or "openmetrics-text" in accepted:
        return Response(as_text(families), media_type=CONTENT_TYPE_LATEST)
    return JSONResponse(as_json(families), headers={"Cache-Control": "no-store"})
