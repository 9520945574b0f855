"""How well the bot list does on agents that somebody has labelled, for the agent alone (SW-30)."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.failures import BadInputError
from pipeline_platform.web_events.bots import BotList

_LABELS = {"1": True, "true": True, "0": False, "false": False}
_AGENT_COLUMNS = ("user_agent", "ua")
_LABEL_COLUMN = "is_bot"


@dataclass(frozen=True)
class RuleCount:
    """How many agents a rule labelled, and how many of these are a person's by their label."""

    bot_rule_id: str
    agents: int
    false_alarms: int


@dataclass(frozen=True)
class Evaluation:
    """The confusion matrix, and the rules with false alarms, those with the most first."""

    found: int
    missed: int
    false_alarms: int
    left_alone: int
    worst_rules: tuple[RuleCount, ...]

    @property
    def precision(self) -> float:
        """Return the share of bots among the agents that were labelled; 1 when none was."""
        labelled = self.found + self.false_alarms
        return self.found / labelled if labelled else 1.0

    @property
    def recall(self) -> float:
        """Return the share of bots that were found; 1 when there is none."""
        bots = self.found + self.missed
        return self.found / bots if bots else 1.0


def evaluate(labelled: Iterable[tuple[str, bool]], bot_list: BotList) -> Evaluation:
    """Judge agents and compare with their labels (True: a bot)."""
    confusion: Counter[tuple[bool, bool]] = Counter()
    agents: Counter[str] = Counter()
    false_alarms: Counter[str] = Counter()
    for agent, is_bot in labelled:
        verdict = bot_list.judge(agent)
        confusion[is_bot, verdict.is_bot] += 1
        if verdict.is_bot and verdict.bot_rule_id:
            agents[verdict.bot_rule_id] += 1
            false_alarms[verdict.bot_rule_id] += not is_bot
    return Evaluation(
        found=confusion[True, True],
        missed=confusion[True, False],
        false_alarms=confusion[False, True],
        left_alone=confusion[False, False],
        worst_rules=tuple(
            RuleCount(rule, agents[rule], count)
            for rule, count in sorted(false_alarms.items(), key=lambda one: (-one[1], one[0]))
            if count
        ),
    )


def read_labelled_agents(path: Path) -> list[tuple[str, bool]]:
    """Read a CSV of agents (column `user_agent` or `ua`) and labels (`is_bot`: 0/1, true/false).

    Raises BadInputError naming the file, and the line or the column at fault.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            names = rows.fieldnames or ()
            agent = next((name for name in _AGENT_COLUMNS if name in names), None)
            if agent is None or _LABEL_COLUMN not in names:
                raise BadInputError(
                    f"{path} needs the columns user_agent (or ua) and is_bot; it has "
                    f"{', '.join(names) or 'none'}."
                )
            return [(row[agent] or "", _label(row, path, rows.line_num)) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} is no CSV in UTF-8: {error}.") from error


def _label(row: dict[str, str], path: Path, line: int) -> bool:
    text = (row[_LABEL_COLUMN] or "").strip().lower()
    if text not in _LABELS:
        raise BadInputError(
            f"{path}, line {line}: is_bot is {text!r}; write 1 or true for a bot, else 0 or false."
        )
    return _LABELS[text]
