"""A pipeline's dashboard as Grafana imports it, generated from its runbook (XC-1).

Pure: a runbook in, JSON text out. What is shown is in `dashboard_panels`.
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pipeline_platform.operations.dashboard_panels import SECTIONS, Database, Panel, panels_of
from pipeline_platform.runbook import Runbook

WIDTH, HEIGHT, GRID = 8, 7, 24
_SOURCES: Mapping[Database, str] = {
    "platform": "grafana-postgresql-datasource",
    "dagster": "grafana-postgresql-datasource",
    "prometheus": "prometheus",
}


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
        "templating": {"list": [_data_source(name) for name in get_args(Database)]},
        "panels": panels,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_json(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    source = {"type": _SOURCES[panel.database], "uid": f"${{{panel.database}}}"}
    defaults: dict[str, Any] = {"unit": panel.unit} if panel.unit else {}
    if panel.steps:
        defaults["thresholds"] = {"mode": "absolute", "steps": list(panel.steps)}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    target: dict[str, Any] = {"refId": "A", "datasource": source}
    if panel.database == "prometheus":
        legend = " ".join(f"{{{{{label}}}}}" for label in panel.columns) or panel.title
        target |= {"expr": panel.query, "legendFormat": legend}
    else:
        shape = "table" if panel.is_table else "time_series"
        target |= {"format": shape, "rawQuery": True, "rawSql": panel.query}
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
    labels: Mapping[Database, str] = {
        "platform": "PostgreSQL of the platform",
        "dagster": "PostgreSQL of Dagster",
        "prometheus": "Prometheus",
    }
    return {
        "name": name,
        "label": labels[name],
        "type": "datasource",
        "query": _SOURCES[name],
    }
