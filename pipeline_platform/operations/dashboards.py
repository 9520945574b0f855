"""A pipeline's Grafana dashboard, generated from its runbook (SW-55, SW-56, SW-57, XC-1).

Pure: a runbook in, panels and their JSON out. Every threshold has a panel with its limits, so no
number stands in a dashboard that the checks don't use. Queries are for the platform's PostgreSQL
and for Dagster's; `$__timeFilter` and `$__interval_ms` are Grafana's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline_platform.quality.thresholds import Severity, Threshold
from pipeline_platform.runbook import Runbook

Database = Literal["platform", "dagster"]
Section = Literal["Throughput", "Quality", "Performance", "Service"]
SECTIONS: tuple[Section, ...] = ("Throughput", "Quality", "Performance", "Service")

WIDTH, HEIGHT, GRID = 8, 7, 24
_COLORS: Mapping[Severity, str] = {"critical": "red", "warning": "orange", "info": "blue"}
_UNITS = {"percent": "percent", "minutes": "m", "seconds": "s", "ms": "ms", "bytes": "bytes"}
_BIN = "date_bin(make_interval(secs => $__interval_ms / 1000.0), {}, TIMESTAMPTZ '2000-01-01')"


@dataclass(frozen=True)
class Panel:
    """One picture: a query, the columns that it draws, their unit and the lines of limits.

    The first column is `time`, except of a table; the others are numbers, but `metric`, which
    names a series.
    """

    section: Section
    title: str
    description: str
    sql: str
    columns: tuple[str, ...]
    unit: str = ""
    steps: Sequence[Mapping[str, Any]] = field(default=())
    database: Database = "platform"

    @property
    def is_table(self) -> bool:
        """Tell whether rows are listed instead of drawn over time."""
        return self.columns[0] != "time"


def panels_of(runbook: Runbook) -> list[Panel]:
    """Return the panels of a pipeline, section by section."""
    found = [*_throughput(runbook), *_quality(runbook), *_performance(runbook)]
    found += [_of_threshold(runbook, one) for one in runbook.thresholds.values()]
    return sorted(found, key=lambda panel: SECTIONS.index(panel.section))


def dashboard(runbook: Runbook) -> str:
    """Return the dashboard as Grafana imports it, JSON text that changes only with the runbook."""
    panels: list[dict[str, Any]] = []
    y = 0
    found = panels_of(runbook)
    for section in SECTIONS:
        members = [panel for panel in found if panel.section == section]
        place = {"h": 1, "w": GRID, "x": 0, "y": y}
        panels.append({"id": len(panels) + 1, "type": "row", "title": section, "gridPos": place})
        y += 1
        x = 0
        for panel in members:
            width = GRID if panel.is_table else WIDTH
            if x + width > GRID:
                x, y = 0, y + HEIGHT
            place = {"h": HEIGHT, "w": width, "x": x, "y": y}
            panels.append(_as_json(panel, len(panels) + 1, place))
            x += width
        y += HEIGHT
    content = {
        "uid": runbook.pipeline,
        "title": runbook.title,
        "description": f"Generated from the runbook of {runbook.pipeline}; change that instead.",
        "tags": [runbook.pipeline],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "templating": {"list": [_data_source("platform"), _data_source("dagster")]},
        "panels": panels,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


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


def _of_threshold(runbook: Runbook, threshold: Threshold) -> Panel:
    is_of_rows = threshold.stage not in ("service", "cost", "recovery")
    is_time = threshold.unit in ("seconds", "ms")
    section: Section = "Quality" if is_of_rows else "Performance" if is_time else "Service"
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
        upper = widest.limit if widest.upper_limit is None else widest.upper_limit
        colors, limits = [color, "green", color], [widest.limit, upper]
    values = [None, *limits]
    return [{"color": color, "value": value} for color, value in zip(colors, values, strict=True)]


def _as_json(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    source = {"type": "grafana-postgresql-datasource", "uid": f"${{{panel.database}}}"}
    defaults: dict[str, Any] = {"unit": panel.unit} if panel.unit else {}
    if panel.steps:
        defaults["thresholds"] = {"mode": "absolute", "steps": list(panel.steps)}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    target = {
        "refId": "A",
        "datasource": source,
        "format": "table" if panel.is_table else "time_series",
        "rawQuery": True,
        "rawSql": panel.sql,
    }
    return {
        "id": number,
        "type": "table" if panel.is_table else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": dict(place),
        "datasource": source,
        "interval": "1m",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [target],
    }


def _data_source(name: Database) -> dict[str, Any]:
    return {
        "name": name,
        "label": f"PostgreSQL of {'Dagster' if name == 'dagster' else 'the platform'}",
        "type": "datasource",
        "query": "grafana-postgresql-datasource",
    }


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
