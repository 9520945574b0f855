"""`bots`: judge an agent, measure the list on labelled ones."""

from pathlib import Path

from tests.integration.commands.conftest import Shell


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
