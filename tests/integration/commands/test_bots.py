"""`bots`: judge an agent, measure the list on labelled ones."""

from pathlib import Path

import pytest

from pipeline_platform.commands import bots
from pipeline_platform.web_events.run_context import load_runbook
from tests.integration.commands.conftest import Shell


@pytest.fixture
def befriended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runbook declare a friend, as an operator would; the shipped one has none."""
    shipped = load_runbook()
    rulings = shipped.rulings.model_copy(update={"friends": {"curl/8": "our-checkout"}})
    monkeypatch.setattr(
        bots, "load_runbook", lambda: shipped.model_copy(update={"rulings": rulings})
    )


@pytest.mark.usefixtures("befriended")
def test_judge_knows_the_runbooks_friends(shell: Shell) -> None:
    found = shell.json("bots", "judge", "curl/8.4.0")
    assert (found["is_bot"], found["bot_rule_id"]) == (False, "friend:our-checkout")


@pytest.mark.usefixtures("befriended")
def test_evaluate_knows_the_runbooks_friends(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("user_agent,is_bot\ncurl/8,0\ncurl/7,1\n")
    assert shell.json("bots", "evaluate", str(path))["false alarms"] == 0


def test_judge_names_the_rule(shell: Shell) -> None:
    assert shell.json("bots", "judge", "curl/8.4.0")["bot_rule_id"] == "library/curl"


def test_evaluate_measures_and_names_the_worst_rules(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("user_agent,is_bot\ncurl/8,1\ncurl/7,0\n")
    found = shell.json("bots", "evaluate", str(path))
    assert (found["precision"], found["recall"], found["worst rules"]) == (
        0.5,
        1.0,
        [{"rule": "library/curl", "agents": 2, "false alarms": 1}],
    )


def test_evaluate_refuses_a_file_without_labels(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("agent\ncurl/8\n")
    assert shell("bots", "evaluate", str(path)).exit_code == 2
