"""Precision, recall and the rules with false alarms, on labelled agents."""

import re
from pathlib import Path

import pytest

from pipeline_platform.failures import BadInputError
from pipeline_platform.web_events.bot_evaluation import (
    RuleCount,
    evaluate,
    read_labelled_agents,
)
from pipeline_platform.web_events.bots import FOLDER, load_bot_list

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
LABELLED = [
    ("curl/8", True),
    ("curl/7", False),
    ("Wget/1.21", True),
    (FIREFOX, False),
    (FIREFOX + " ", True),
]


def test_the_confusion_matrix() -> None:
    found = evaluate(LABELLED, load_bot_list())
    assert (found.found, found.missed, found.false_alarms, found.left_alone) == (2, 1, 1, 1)


def test_precision_and_recall() -> None:
    found = evaluate(LABELLED, load_bot_list())
    assert (found.precision, found.recall) == (2 / 3, 2 / 3)


def test_the_worst_rules() -> None:
    assert evaluate(LABELLED, load_bot_list()).worst_rules == (RuleCount("library/curl", 3, 1),)


def test_nothing_labelled_is_not_wrong() -> None:
    found = evaluate([], load_bot_list())
    assert (found.precision, found.recall) == (1.0, 1.0)


@pytest.mark.parametrize("column", ["ua", "user_agent"])
def test_labels_are_read_from_csv(tmp_path: Path, column: str) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text(f'is_bot,{column}\n1,"a, ""b"""\nfalse,\n', encoding="utf-8")
    assert read_labelled_agents(path) == [('a, "b"', True), ("", False)]


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("agent,bot\n")
    with pytest.raises(BadInputError, match=r"user_agent \(or ua\) and is_bot; it has agent, bot"):
        read_labelled_agents(path)


def test_a_label_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("ua,is_bot\na,1\nb,maybe\n")
    with pytest.raises(BadInputError, match="line 3: is_bot is 'maybe'"):
        read_labelled_agents(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_bytes(b"ua,is_bot\n\xff,1\n")
    with pytest.raises(BadInputError, match="no CSV in UTF-8"):
        read_labelled_agents(path)


# --- the bar: agents as their operators and makers document them (`labelled_agents.csv`) --------

DOCUMENTED = read_labelled_agents(Path(__file__).with_name("labelled_agents.csv"))
BAR = 0.97


def test_precision_and_recall_meet_the_bar_on_documented_agents() -> None:
    found = evaluate(DOCUMENTED, load_bot_list())
    assert min(found.precision, found.recall) >= BAR, found


def test_documented_agents_are_kept_apart_from_the_examples_of_the_rules() -> None:
    examples = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.yaml"))
    assert [agent for agent, _ in DOCUMENTED if f"'{agent}'" in examples] == []


def test_a_search_for_words_does_not_meet_the_bar_on_them() -> None:
    words = re.compile("bot|crawl|spider", re.IGNORECASE)
    bots = [agent for agent, is_bot in DOCUMENTED if is_bot]
    assert sum(words.search(agent) is not None for agent in bots) / len(bots) < BAR
