"""Nothing between a row of the requirements and a person is missing, and a hole is named (B-1)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline_platform.commands.generate import FOLDER, covered, evidence, requirement_rows
from pipeline_platform.operations.coverage import EVERY, Evidence, Row, answers, holes
from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.runbook import SecuredThings

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


def test_a_route_that_no_test_follows_is_named() -> None:
    kept = {key: told for key, told in evidence().routes.items() if key[1] != "data_lag"}
    assert found(requirement_rows(), replace(evidence(), routes=kept)) == [
        "`web_events` routes.data_lag has no test that makes it fail."
    ]


def test_an_alert_from_outside_that_fires_in_no_test_is_named() -> None:
    text = evidence().outside_tests.replace('"PipelineRecovery"', "")
    holed = found(requirement_rows(), replace(evidence(), outside_tests=text))
    assert {one.split("service_level.")[1] for one in holed} == {
        "recovery_minutes has no test that makes it fail."
    }


def test_a_limit_of_the_security_review_that_no_test_crosses_is_named() -> None:
    untested = [replace(one, outside=None) for one in evidence().security]
    assert found(requirement_rows(), replace(evidence(), security=untested)) == [
        "`advisory_performance` security.secrets has no test that makes it fail.",
        "`web_events` security.trails has no test that makes it fail.",
    ]


def test_a_secret_that_no_runbook_names_leaves_its_row_open() -> None:
    runbook = runbooks()["advisory_performance"]
    bare = runbook.model_copy(update={"security": SecuredThings()})
    row = Row("SA-44", "advisory_performance", "a secret is rotated within 90 days", "")
    changed = answers({**alertings(), "advisory_performance": bare}, evidence())
    assert holes([row], changed, runbooks()) == [
        "SA-44 (a secret is rotated within 90 days) has no limit in the runbook of"
        " advisory_performance."
    ]


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
