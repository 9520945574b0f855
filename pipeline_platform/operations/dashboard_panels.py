"""The panels of a pipeline's dashboard, made from its runbook (SW-55 to SW-58, SP-20, XC-1).

Pure. Every threshold has a panel with its limits: no number stands here that the checks
don't use. Queries are for the platform's PostgreSQL and for Dagster's, where `$__timeFilter` and
`$__interval_ms` are Grafana's, and for Prometheus.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pipeline_platform.quality.thresholds import Severity, Threshold
from pipeline_platform.runbook import Runbook

Database = Literal["platform", "dagster", "prometheus"]
Section = Literal["Throughput", "Quality", "Performance", "Service", "Cost"]
SECTIONS: tuple[Section, ...] = get_args(Section)
_COLORS: Mapping[Severity, str] = {"critical": "red", "warning": "orange", "info": "blue"}
_UNITS = {"percent": "percent", "minutes": "m", "seconds": "s", "ms": "ms", "bytes": "bytes"}
_BIN = "date_bin(make_interval(secs => $__interval_ms / 1000.0), {}, TIMESTAMPTZ '2000-01-01')"


@dataclass(frozen=True)
class Panel:
    """One picture: a query, the columns that it draws, their unit and the lines of limits.

    The first column is `time`, except of a table; the others are numbers, but `metric`, which
    names a series. For Prometheus `query` is PromQL and `columns` are the labels in the legend.
    """

    section: Section
    title: str
    description: str
    query: str
    columns: tuple[str, ...]
    unit: str = ""
    steps: Sequence[Mapping[str, Any]] = field(default=())
    database: Database = "platform"

    @property
    def is_table(self) -> bool:
        """Tell whether rows are listed instead of drawn over time."""
        return self.database != "prometheus" and self.columns[0] != "time"


def panels_of(runbook: Runbook) -> list[Panel]:
    """Return the panels of a pipeline, section by section."""
    found = [*_throughput(runbook), *_quality(runbook), *_performance(runbook)]
    found += [*_service(runbook), *_cost()]
    found += [_of_threshold(runbook, one) for one in runbook.thresholds.values()]
    return sorted(found, key=lambda panel: SECTIONS.index(panel.section))


def _throughput(runbook: Runbook) -> Iterator[Panel]:
    """Yield records per minute and processing lag (SW-55), of files and of the stream."""
    ours = f"pipeline = {_text(runbook.pipeline)}"
    yield Panel(
        "Throughput",
        "Records per minute",
        "Records of files and batches that were published (SW-55).",
        f"SELECT {_BIN.format('published_at')} AS time,"
        " (sum(records_processed) * 60000.0 / $__interval_ms)::float8 AS records"
        f" FROM etl_processing_log WHERE {ours} AND $__timeFilter(published_at)"
        " GROUP BY 1 ORDER BY 1",
        ("time", "records"),
    )
    minutes = "extract(epoch FROM coalesce(completed_at, now()) - arrived_at) / 60"
    yield Panel(
        "Throughput",
        "Rows Processed by Task",
        "Rows that each hop passed on (SP-20).",
        f"SELECT {_BIN.format('recorded_at')} AS time, hop AS metric,"
        f" sum(published)::float8 AS value FROM conservation_ledger WHERE {ours}"
        " AND $__timeFilter(recorded_at) GROUP BY 1, 2 ORDER BY 1, 2",
        ("time", "metric", "value"),
    )
    yield Panel(
        "Throughput",
        "Processing lag",
        "Time from a file's arrival until all that is made from it was published (SW-55).",
        f"SELECT {_BIN.format('arrived_at')} AS time, max({minutes})::float8 AS longest,"
        f" percentile_cont(0.5) WITHIN GROUP (ORDER BY {minutes}) AS median"
        f" FROM etl_processing_log WHERE {ours} AND status <> 'QUARANTINED'"
        " AND $__timeFilter(arrived_at) GROUP BY 1 ORDER BY 1",
        ("time", "longest", "median"),
        "m",
        _steps_named(runbook, "processing_latency"),
    )
    if "stream" not in runbook.sensors:
        return
    yield Panel(
        "Throughput",
        "Records of the stream per minute",
        "Records that were read from the stream (SW-55, SW-8).",
        f"SELECT {_BIN.format('read_at')} AS time,"
        " (sum(records) * 60000.0 / $__interval_ms)::float8 AS records"
        f" FROM stream_reads WHERE {ours} AND $__timeFilter(read_at) GROUP BY 1 ORDER BY 1",
        ("time", "records"),
    )
    yield Panel(
        "Throughput",
        "Behind the stream",
        "How far the slowest shard was behind its newest record (SW-3, SW-55).",
        f"SELECT {_BIN.format('read_at')} AS time,"
        " (max(millis_behind_latest) / 60000.0)::float8 AS longest"
        f" FROM stream_reads WHERE {ours} AND outcome <> 'FAILED' AND $__timeFilter(read_at)"
        " GROUP BY 1 ORDER BY 1",
        ("time", "longest"),
        "m",
        _steps_named(runbook, "stream_iterator_age"),
    )


def _quality(runbook: Runbook) -> Iterator[Panel]:
    """Yield the latest outcome of every check, and error rates (SW-56)."""
    ours = f"pipeline = {_text(runbook.pipeline)}"
    yield Panel(
        "Quality",
        "Checks now",
        "The latest outcome of every check; what fails and is most severe first (SW-56).",
        'SELECT check_name AS "check", outcome, severity, value, limit_value AS "limit",'
        ' observed_at AS "observed at", reason FROM ('
        "SELECT DISTINCT ON (check_name) * FROM check_observations"
        f" WHERE {ours} ORDER BY check_name, observed_at DESC, observation_id DESC) AS latest"
        " ORDER BY outcome = 'fail' DESC, severity = 'critical' DESC NULLS LAST, check_name",
        ("check", "outcome", "severity", "value", "limit", "observed at", "reason"),
    )
    yield Panel(
        "Quality",
        "Records that did not pass a hop",
        "Quarantined records in percent of those that arrived, by hop (SW-56, SW-60).",
        f"SELECT {_BIN.format('recorded_at')} AS time, hop AS metric,"
        " (100.0 * sum(quarantined) / nullif(sum(arrived), 0))::float8 AS value"
        f" FROM conservation_ledger WHERE {ours} AND $__timeFilter(recorded_at)"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        ("time", "metric", "value"),
        "percent",
        _steps_named(runbook, "error_rate"),
    )


def _performance(runbook: Runbook) -> Iterator[Panel]:
    """Yield the durations of runs, files and maintenance (SW-57)."""
    ours = f"pipeline = {_text(runbook.pipeline)}"
    yield Panel(
        "Performance",
        "Duration of runs by job",
        "From start to end, of runs that ended then (SW-57).",
        "SELECT to_timestamp(end_time) AS time, pipeline_name AS metric,"
        " end_time - start_time AS value FROM runs"
        f" WHERE starts_with(pipeline_name, {_text(runbook.pipeline)})"
        " AND start_time IS NOT NULL AND $__timeFilter(to_timestamp(end_time)) ORDER BY 1",
        ("time", "metric", "value"),
        "s",
        database="dagster",
    )
    yield Panel(
        "Performance",
        "Time for a file",
        "From its claim until its own run ended (SW-57).",
        f"SELECT {_BIN.format('processing_end_time')} AS time, max(duration_seconds) AS longest,"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_seconds) AS median"
        f" FROM etl_processing_log WHERE {ours} AND $__timeFilter(processing_end_time)"
        " GROUP BY 1 ORDER BY 1",
        ("time", "longest", "median"),
        "s",
    )
    yield Panel(
        "Performance",
        "Maintenance by operation",
        "How long each operation took, all tables together (SW-57).",
        f"SELECT {_BIN.format('started_at')} AS time, operation AS metric,"
        " sum(extract(epoch FROM ended_at - started_at))::float8 AS value"
        f" FROM maintenance_runs WHERE {ours} AND ended_at IS NOT NULL"
        " AND $__timeFilter(started_at) GROUP BY 1, 2 ORDER BY 1, 2",
        ("time", "metric", "value"),
        "s",
    )


def _service(runbook: Runbook) -> Iterator[Panel]:
    """Yield freshness, failures with their reasons, and what was promised (SP-20, SA-81, SA-88)."""
    of = f'{{pipeline="{runbook.pipeline}"}}'
    level = runbook.alerts.service_level
    yield Panel(
        "Service",
        "Silver Data Freshness",
        "How old each asset with a freshness is (SP-20).",
        f"pipeline_freshness_seconds{of}",
        ("asset",),
        "s",
        database="prometheus",
    )
    yield Panel(
        "Service",
        "Task Success/Failure Rates",
        "Steps of runs that ended, by how they ended, in an hour (SP-7, SP-20).",
        f"sum by (status) (increase(potato_pipeline_tasks_total{of}[1h]))",
        ("status",),
        database="prometheus",
    )
    yield Panel(
        "Service",
        "Pipeline Error Logs",
        "Why runs failed, the latest first (SP-20).",
        "SELECT ended_at, job_name AS job, error->>'task' AS step,"
        " error->>'failure_class' AS class, error->>'message' AS message"
        " FROM pipeline_runs CROSS JOIN jsonb_array_elements(errors) AS error"
        f" WHERE pipeline_id = {_text(runbook.pipeline)} AND $__timeFilter(ended_at)"
        " ORDER BY ended_at DESC LIMIT 100",
        ("ended_at", "job", "step", "class", "message"),
    )
    yield Panel(
        "Service",
        "Availability of this month",
        f"Must be more than {level.availability_pct:g} percent (SA-88).",
        f"pipeline_availability_pct{of}",
        (),
        "percent",
        [{"color": "red", "value": None}, {"color": "green", "value": level.availability_pct}],
        "prometheus",
    )
    yield Panel(
        "Service",
        "Error budget left this month",
        "Minutes that the pipeline may still be down (SA-88).",
        f"pipeline_error_budget_left_minutes{of}",
        (),
        "m",
        [{"color": "red", "value": None}, {"color": "green", "value": 0}],
        "prometheus",
    )
    yield Panel(
        "Service",
        "Mean time to recovery of this month",
        f"Must be less than {level.recovery_minutes} minutes (SA-81).",
        f"pipeline_recovery_minutes{of}",
        (),
        "m",
        [{"color": "green", "value": None}, {"color": "red", "value": level.recovery_minutes}],
        "prometheus",
    )


def _cost() -> Iterator[Panel]:
    """Yield daily spend and use of the machine, of all pipelines together (SW-58)."""
    yield Panel(
        "Cost",
        "Cost by day and service",
        "Blended cost of the whole account (SW-58, SA-49).",
        "SELECT usage_date::timestamptz AS time, service AS metric, amount::float8 AS value"
        " FROM daily_service_cost WHERE $__timeFilter(usage_date) ORDER BY 1, 2",
        ("time", "metric", "value"),
    )
    for title, metric in (
        ("Memory in use", "host_memory_used_pct"),
        ("Disk in use", "host_disk_used_pct"),
    ):
        yield Panel(
            "Cost",
            title,
            "In percent, of each machine that serves metrics (SW-58, SP-29).",
            metric,
            ("instance",),
            "percent",
            database="prometheus",
        )


def _of_threshold(runbook: Runbook, threshold: Threshold) -> Panel:
    is_of_rows = threshold.stage not in ("service", "cost", "recovery")
    is_time = threshold.unit in ("seconds", "ms")
    section: Section = "Quality" if is_of_rows else "Performance" if is_time else "Service"
    if threshold.stage == "cost":
        section = "Cost"
    return Panel(
        section,
        threshold.title,
        f"{threshold.measure} ({', '.join(threshold.requirements)})",
        "SELECT observed_at AS time, value FROM check_observations"
        f" WHERE pipeline = {_text(runbook.pipeline)} AND check_name = {_text(threshold.name)}"
        " AND value IS NOT NULL AND $__timeFilter(observed_at) ORDER BY 1",
        ("time", "value"),
        _UNITS.get(threshold.unit, f"suffix: {threshold.unit}"),
        _steps(threshold),
    )


def _steps_named(runbook: Runbook, name: str) -> Sequence[Mapping[str, Any]]:
    threshold = runbook.thresholds.get(name)
    return () if threshold is None else _steps(threshold)


def _steps(threshold: Threshold) -> list[Mapping[str, Any]]:
    """Return Grafana's steps: the color from each limit on, the first one below all limits."""
    bands = sorted(threshold.bands, key=lambda band: band.limit)
    colors = [_COLORS[band.severity] for band in bands]
    limits: list[float] = [band.limit for band in bands]
    if threshold.direction == "at_most":
        colors = ["green", *colors]
    elif threshold.direction == "at_least":
        colors = [*colors, "green"]
    else:
        widest = bands[0]
        color = _COLORS[widest.severity]
        colors, limits = [color, "green", color], [widest.limit, widest.upper]
    values = [None, *limits]
    return [{"color": color, "value": value} for color, value in zip(colors, values, strict=True)]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
