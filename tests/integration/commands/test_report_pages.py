"""`reports morning` and its sisters over a processed platform."""

from pathlib import Path

import pytest

from tests.integration.commands.conftest import Processed


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
