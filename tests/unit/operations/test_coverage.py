"""Nothing between a row of the requirements and a person is missing, and a hole is named (B-1)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline_platform.commands.generate import FOLDER, covered, evidence, requirement_rows
from pipeline_platform.operations.coverage import EVERY, Evidence, Row, answers, holes
from pipeline_platform.operations.plan import alertings, runbooks

RATE = "`web_events` thresholds.error_rate"


def found(rows: list[Row], given: Evidence) -> list[str]:
    """Return the holes; the runbooks are those that are shipped."""
    return holes(rows, answers(alertings(), given), runbooks())


def without_check(given: Evidence) -> Evidence:
    kept = {
        asset: [name for name in names if name != "error_rate"]
        for asset, names in given.checks.items()
    }
    return replace(given, checks=kept)


def without_test(given: Evidence) -> Evidence:
    kept = [one for one in given.crossings if one.threshold != "error_rate"]
    return replace(given, crossings=kept)


def without_line(given: Evidence) -> Evidence:
    return replace(given, operating=given.operating.replace("`error_rate`", ""))


def test_nothing_is_missing() -> None:
    assert covered()[0] == []


def test_the_page_is_what_the_runbooks_say() -> None:
    assert (FOLDER / "coverage.md").read_text("utf-8") == covered()[1]


def test_a_row_without_a_limit_is_named() -> None:
    row = Row("SW-99", "web_events", "events come in order", "")
    said = "SW-99 (events come in order) has no limit in the runbook of web_events."
    assert found([*requirement_rows(), row], evidence()) == [said]


def test_a_row_that_is_said_to_be_open_may_lack_its_limit() -> None:
    row = Row("SW-99", "web_events", "events come in order", "not built")
    assert found([*requirement_rows(), row], evidence()) == []


def test_a_row_that_is_said_to_be_open_and_is_not_is_named() -> None:
    row = Row("SW-60", "web_events", "error rate", "not built")
    assert found([row], evidence()) == ["SW-60 is said to be open (not built), but has a limit."]


def test_a_row_of_a_pipeline_without_a_runbook_waits_for_it() -> None:
    assert found([Row("SC-58", "change_capture", "lag within 30 minutes", "")], evidence()) == []


def test_a_row_for_every_pipeline_is_answered_by_any() -> None:
    assert found([Row("SP-16", EVERY, "no gap", "")], evidence()) == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_check, "has no check."),
        (without_test, "has no test that makes it fail."),
        (without_line, "has no line in docs/operating.md that says what to do."),
    ],
)
def test_a_limit_that_leads_nowhere_is_named(
    damage: Callable[[Evidence], Evidence], says: str
) -> None:
    assert found(requirement_rows(), damage(evidence())) == [f"{RATE} {says}"]


def test_a_limit_that_is_taken_out_of_a_runbook_leaves_its_row_open() -> None:
    runbook = runbooks()["web_events"]
    thresholds = {name: one for name, one in runbook.thresholds.items() if name != "unseen_kinds"}
    changed = runbook.model_copy(update={"thresholds": thresholds})
    row = Row("SW-32", "web_events", "new sources are noticed", "")
    left = [
        one for one in answers({"web_events": changed}, evidence()) if "routes" not in one.place
    ]
    assert holes([row], left, runbooks()) == [
        "SW-32 (new sources are noticed) has no limit in the runbook of web_events."
    ]
