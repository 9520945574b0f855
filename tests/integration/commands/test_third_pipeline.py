"""A pipeline that comes later: a folder with a runbook and its own code, no line of the platform's.

What the person on call uses works for it: see `tests/third_pipeline`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands.conftest import own_platform

FIRST = [["2026-03-01", "m1", 1.5], ["2026-03-01", "m2", 2.0]]
BOTH = [["2026-03-01", "m1", 41.5], ["2026-03-01", "m2", 2.0], ["2026-03-02", "m3", 4.0]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("third")
    with own_platform(folder / "home") as shell:
        done = subprocess.run(
            [sys.executable, "-m", "tests.third_pipeline.story", folder, folder / "told.json"],
            env={**os.environ, **shell.environment},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "told.json").read_text("utf-8"))


def test_its_partitions_wait_and_are_processed(told: Any) -> None:
    waiting = [(one["pipeline"], one["partition"]) for one in told["waiting"]]
    assert (waiting, told["served_before"]) == ([("readings", "2026-03-01")], FIRST)


def test_the_impact_of_a_run_names_whom_it_is_about_and_who_reads_it(told: Any) -> None:
    (served,) = [one for one in told["impact"]["made_from_it"] if "/serving/" in one["asset"]]
    found = (served["asset"], served["read by"], told["impact"]["accounts"])
    assert found == ("readings/serving/meter_totals", ["meter_readers"], ["m1", "m3"])


def test_the_preview_of_an_undo_says_what_is_served_again(told: Any) -> None:
    assert told["preview"]["served again"] == ["2026-03-01", "2026-03-02"]


def test_an_undone_run_is_no_longer_served(told: Any) -> None:
    assert (told["served_after"], told["served_undone"]) == (BOTH, FIRST)


def test_stopped_it_processes_nothing(told: Any) -> None:
    assert told["while_stopped"] == 2


def test_resumed_it_processes_what_waits(told: Any) -> None:
    assert told["served_again"] == BOTH


def test_what_it_refused_can_be_read_again(told: Any) -> None:
    assert told["replay"]["records that still fail"] == {"three_fields": 1}


def test_a_replay_through_other_mappings_says_what_would_move(told: Any) -> None:
    found = told["foretold"]
    assert (found["days processed"], found["what moves"]) == (
        ["2026-03-05"],
        {"days": ["2026-03-05"]},
    )


def test_its_passport_leads_to_the_delivered_lines(told: Any) -> None:
    found = {(one["file"], one["line"]) for one in told["passport"]["lines"]}
    assert found == {("one.csv", 1), ("two.csv", 1)}


@pytest.mark.parametrize("name", ["refused_files", "backup_age"])
def test_what_the_platform_can_measure_its_runbook_only_states(told: Any, name: str) -> None:
    """`backup_age` is a rule of another pipeline, too, on the same asset."""
    outcomes = {one["check"]: one["outcome"] for one in told["checks"]}
    assert outcomes[name] == "pass"


def test_a_failed_check_becomes_an_incident_of_its_own_route(told: Any) -> None:
    (incident,) = told["incidents"]
    assert (incident["pipeline"], incident["severity"]) == ("readings", "critical")


@pytest.mark.parametrize("name", ["morning", "end-of-day", "weekly", "monthly"])
def test_it_has_its_pages(told: Any, name: str) -> None:
    (page,) = told["pages"][name]
    assert (page["pipeline"], page["sections"] != []) == ("readings", True)


def test_its_morning_check_names_the_command_of_its_runbook(told: Any) -> None:
    (page,) = told["pages"]["morning"]
    (failed,) = [one for one in page["sections"] if one["kind"] == "failed"]
    command = "pipeline-platform quarantine list --pipeline readings --kind rows"
    assert [row["command"] for row in failed["rows"]] == [command]


def test_the_http_service_knows_it(told: Any) -> None:
    assert "readings" in [one["id"] for one in told["http"]["pipelines"]]
    assert {one["job"] for one in told["http"]["runs"]} == {
        "readings_ingest",
        "readings_workflow",
        "readings_checks",
    }


@pytest.mark.parametrize(
    "metric",
    ["pipeline_runs", "pipeline_check_value", "pipeline_records", "pipeline_open_incidents"],
)
def test_it_has_metrics(told: Any, metric: str) -> None:
    lines = told["http"]["metrics"].splitlines()
    assert [one for one in lines if metric in one and 'pipeline="readings"' in one] != []


def test_its_page_rules_dashboards_and_alarms_are_generated(told: Any) -> None:
    kinds = {"readings.md", "dashboards/readings.json", "cloudwatch/readings.json"}
    wanted = {f"docs/{one}" for one in kinds | {"prometheus/readings.yml"}}
    assert wanted <= set(told["generated"])
