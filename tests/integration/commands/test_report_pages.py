"""`reports morning` and its sisters over a processed platform."""

import json
import runpy
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.commands.conftest import Processed

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate_weekly_report.py"


@pytest.mark.parametrize("report", ["morning", "end-of-day", "weekly", "monthly"])
def test_the_short_form_answers_four_questions(processed: Processed, report: str) -> None:
    told = processed.shell("reports", report, "advisory")
    assert [
        title
        for title in ("What failed", "What is late", "What is queued for a person", "What ran")
        if title not in told.output
    ] == []


def test_what_is_wrong_is_an_exit_code_and_has_a_command(processed: Processed) -> None:
    told = processed.shell("reports", "morning", "advisory", "--json")
    assert told.exit_code == 1  # no daemon runs
    (page,) = processed.shell.json("reports", "morning", "advisory")
    rows = [row for one in page["sections"] if one["kind"] != "ran" for row in one["rows"]]
    wrong = [row for row in rows if "command" in row]
    assert wrong != []
    assert {row["command"].split()[0] for row in wrong} == {"pipeline-platform"}


def test_all_pipelines_are_told_of_without_a_name(processed: Processed) -> None:
    pages = processed.shell.json("reports", "morning")
    assert [page["pipeline"] for page in pages] == ["advisory_performance", "web_events"]


def test_the_runbook_s_name_of_it_is_the_same_command(processed: Processed) -> None:
    assert "What is late" in processed.shell("morning-check", "advisory").output


@pytest.mark.parametrize(("ending", "begins"), [("html", "<!doctype html>"), ("md", "# Weekly")])
def test_the_whole_page_is_written(
    processed: Processed, tmp_path: Path, ending: str, begins: str
) -> None:
    out = tmp_path / f"page.{ending}"
    processed.shell("reports", "weekly", "advisory", "--out", str(out))
    assert out.read_text("utf-8").startswith(begins)


def test_the_written_document_is_the_page_that_json_prints(
    processed: Processed, tmp_path: Path
) -> None:
    out = tmp_path / "page.json"
    told = processed.shell("reports", "weekly", "advisory", "--out", str(out))
    (shown,) = processed.shell.json("reports", "weekly", "advisory")
    written = json.loads(out.read_text("utf-8"))
    assert f"Written to {out}" in told.output.replace("\n", "")
    assert [one["title"] for one in written["sections"]] == [
        one["title"] for one in shown["sections"]
    ]


def test_one_file_takes_one_pipelines_page(processed: Processed, tmp_path: Path) -> None:
    result = processed.shell("reports", "weekly", "--out", str(tmp_path / "page.html"))
    assert (result.exit_code, "one PIPELINE's page" in result.stderr) == (2, True)


def test_the_script_of_the_runbook_writes_the_weekly_report(
    processed: Processed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.json"
    day = datetime.now(UTC).date() - timedelta(days=7)
    options = ["advisory", "--start-date", day.isoformat(), "--out", str(out)]
    for name, value in processed.shell.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 1  # no daemon runs
    page = json.loads(out.read_text("utf-8"))
    with processed.shell.services() as services, services.database.connection() as connection:
        (records,) = connection.execute(
            "SELECT sum(records_processed) FROM etl_processing_log"
        ).fetchone()
    (totals,) = [
        one
        for one in page["sections"]
        if any(row.get("figure") == "records processed" for row in one["rows"])
    ]
    figures = {row["figure"]: row["period"] for row in totals["rows"]}
    assert figures["records processed"] == records


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "page.pdf"),
        ("--day", "2020-01-01"),
        ("--start-date", "2999-01-01"),
    ],
)
def test_wrong_use_is_exit_code_2(processed: Processed, options: tuple[str, ...]) -> None:
    assert processed.shell("reports", "weekly", "advisory", *options).exit_code == 2
