"""A dashboard is what the runbook says: a panel for each threshold, with its limits as lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.commands.arguments import PACKAGE
from pipeline_platform.commands.lake_tables import runbook_of
from pipeline_platform.operations.dashboard_panels import Panel, panels_of
from pipeline_platform.operations.dashboards import dashboard
from pipeline_platform.quality.thresholds import Band, Threshold
from pipeline_platform.runbook import Runbook

PIPELINES = sorted(path.parent.name for path in PACKAGE.glob("*/runbook.yaml"))
OF_EACH_PIPELINE = pytest.mark.parametrize("pipeline", PIPELINES)
FOLDER = PACKAGE.parent / "docs" / "dashboards"


def panel_of(runbook: Runbook, threshold: Threshold) -> Panel:
    changed = runbook.model_copy(update={"thresholds": {threshold.name: threshold}})
    return panels_of(changed)[-1] if threshold.stage == "service" else _last_quality(changed)


def _last_quality(runbook: Runbook) -> Panel:
    return [panel for panel in panels_of(runbook) if panel.section == "Quality"][-1]


@OF_EACH_PIPELINE
def test_the_file_is_what_the_runbook_says(pipeline: str) -> None:
    assert (FOLDER / f"{pipeline}.json").read_text("utf-8") == dashboard(runbook_of(pipeline))


@OF_EACH_PIPELINE
def test_every_threshold_has_a_panel(pipeline: str) -> None:
    runbook = runbook_of(pipeline)
    queries = [panel.query for panel in panels_of(runbook)]
    assert [
        name
        for name in runbook.thresholds
        if not any(f"check_name = '{name}'" in query for query in queries)
    ] == []


@OF_EACH_PIPELINE
def test_no_panel_covers_another(pipeline: str) -> None:
    places = [one["gridPos"] for one in json.loads(dashboard(runbook_of(pipeline)))["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@OF_EACH_PIPELINE
def test_the_rows_of_the_requirements_are_sections(pipeline: str) -> None:
    titles = [
        one["title"]
        for one in json.loads(dashboard(runbook_of(pipeline)))["panels"]
        if one["type"] == "row"
    ]
    assert titles == ["Throughput", "Quality", "Performance", "Service", "Cost"]


@OF_EACH_PIPELINE
def test_daily_spend_and_what_machines_are_used_for_are_panels(pipeline: str) -> None:
    """SW-58."""
    panels = json.loads(dashboard(runbook_of(pipeline)))["panels"]
    begin = [one["title"] for one in panels].index("Cost")
    titles = {one["title"] for one in panels[begin:]}
    assert titles >= {"Cost by day and service", "Memory in use", "Disk in use"}


def test_only_a_pipeline_with_a_stream_shows_one() -> None:
    shown = {
        name: any("stream_reads" in panel.query for panel in panels_of(runbook_of(name)))
        for name in PIPELINES
    }
    assert shown == {"advisory_performance": False, "web_events": True}


@pytest.mark.parametrize(
    ("direction", "limits", "steps"),
    [
        ("at_most", {"critical": 5, "warning": 1}, [("green", None), ("orange", 1), ("red", 5)]),
        ("at_least", {"critical": 1, "warning": 5}, [("red", None), ("orange", 1), ("green", 5)]),
    ],
)
def test_limits_are_lines_in_the_color_of_their_severity(
    direction: str, limits: dict[str, float], steps: list[tuple[str, float | None]]
) -> None:
    runbook = runbook_of("web_events")
    bands = [
        Band(severity=name, limit=limit, is_inclusive=True, response_minutes=1, route="x")
        for name, limit in limits.items()
    ]
    threshold = runbook.thresholds["data_quality_score"].model_copy(
        update={"direction": direction, "bands": bands}
    )
    found = [(step["color"], step["value"]) for step in panel_of(runbook, threshold).steps]
    assert found == steps


def test_a_value_that_must_lie_between_limits_has_both() -> None:
    runbook = runbook_of("web_events")
    band = Band(
        severity="critical",
        limit=1,
        upper_limit=5,
        is_inclusive=True,
        response_minutes=1,
        route="x",
    )
    threshold = runbook.thresholds["data_quality_score"].model_copy(
        update={"direction": "between", "bands": [band]}
    )
    found = [(step["color"], step["value"]) for step in panel_of(runbook, threshold).steps]
    assert found == [("red", None), ("green", 1), ("red", 5)]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Any]:
    return lambda *given: CliRunner().invoke(app, ["generate", "--folder", str(tmp_path), *given])


def test_files_are_written_and_then_up_to_date(command: Callable[..., Any]) -> None:
    codes = [command(*given).exit_code for given in (["--check"], [], ["--check"])]
    assert codes == [1, 0, 0]


def test_one_that_was_changed_by_hand_is_out_of_date(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    command()
    (tmp_path / "dashboards" / "web_events.json").write_text("{}")
    result = command("--check")
    assert (result.exit_code, "web_events.json" in result.stderr.replace("\n", "")) == (1, True)
