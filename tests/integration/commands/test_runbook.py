"""`runbook try`: another limit against what the database remembers (B-2)."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.quality.observations import record_verdict
from tests.integration.commands.conftest import Shell

RATE = runbooks()["web_events"].thresholds["error_rate"]
NOW = datetime.now(UTC).replace(microsecond=0)
VALUES = [2.0] * 40 + [6.0] * 5 + [2.0] * 40 + [4.0] * 5 + [2.0] * 10


@pytest.fixture(scope="module")
def shell(new_database, tmp_path_factory) -> Shell:
    """A platform that observed the error rate every six hours for 25 days."""
    found = Shell(tmp_path_factory.mktemp("try") / "home", new_database())
    with found.services() as services, services.database.transaction() as connection:
        for back, value in enumerate(reversed(VALUES)):
            verdict = judge(Measurement("error_rate", value, sample_size=1000), RATE)
            at = NOW - timedelta(hours=6 * back)
            record_verdict(connection, "web_events", verdict, now=at)
    return found


def test_a_narrower_limit_would_have_fired_twice(shell: Shell) -> None:
    found = shell.json("runbook", "try", "web_events.error_rate", "3")
    assert (found["today"]["fired"], found["tried"]["fired"]) == (1, 2)


def test_each_firing_is_told_side_by_side(shell: Shell) -> None:
    result = shell("runbook", "try", "web.error_rate", "3")
    assert result.exit_code == 0
    assert "the same" in result.stdout
    assert "only by the tried limit" in result.stdout


def test_a_wider_limit_misses_what_fired(shell: Shell) -> None:
    (one,) = shell.json("runbook", "try", "web_events.error_rate", "7")["differences"]
    assert (one["today_at"] is None, one["tried_at"]) == (False, None)


def test_hours_are_those_between_the_evaluations(shell: Shell) -> None:
    assert shell.json("runbook", "try", "web_events.error_rate", "3")["tried"]["hours"] == 60


def test_what_lies_too_far_back_is_left_out(shell: Shell) -> None:
    found = shell.json("runbook", "try", "web_events.error_rate", "3", "--days", "8")
    assert found["tried"]["fired"] == 1


def test_too_little_history_is_said(shell: Shell) -> None:
    result = shell("runbook", "try", "web_events.error_rate", "3", "--days", "2")
    assert (result.exit_code, "too little to lean on" in result.stdout) == (1, True)


def test_no_history_is_said(shell: Shell) -> None:
    result = shell("runbook", "try", "web_events.query_time", "3")
    assert (result.exit_code, "Nothing was observed" in result.stdout) == (1, True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("web_events.weather", "web_events has no threshold 'weather'"),
        ("weather.error_rate", "'weather' is not one pipeline"),
        ("error_rate", "write PIPELINE.THRESHOLD"),
    ],
)
def test_what_is_no_threshold_is_refused(shell: Shell, name: str, says: str) -> None:
    result = shell("runbook", "try", name, "3")
    assert (result.exit_code, says in " ".join(result.stderr.split())) == (2, True)


def test_a_band_that_is_not_there_is_refused(shell: Shell) -> None:
    result = shell("runbook", "try", "web_events.error_rate", "3", "--severity", "warning")
    assert (result.exit_code, "no warning band" in result.stderr) == (2, True)
