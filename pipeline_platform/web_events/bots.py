"""Which user agents are bots, and which rule says so (SW-30). Behaviour is in `bot_behaviour.py`.

The order of rules, of which the first that matches gives the verdict and its id:

1. `friend:<name>`: server-side clients that the runbook declares as friends. Not a bot. (An agent
   proves nothing: whoever sends the friend's agent is taken for the friend.)
2. Our own rules about one kind of program: `bots/rules.yaml`, `specific`.
3. `crawler-user-agents:<pattern>`, then `crawlerdetect:<pattern>`: two maintained lists, which come
   as packages of those names (MIT), less the patterns that `bots/exceptions.yaml` switches off.
4. Our own rules about words and addresses that only a bot's agent has: `generic`.
5. Words of people's browsers and devices: `people`. Not a bot, and no rule id.
6. Our own rules about the form of an agent: `malformed`. They would label many an old telephone,
   hence 5 before them.

An agent that these rules call a bot is judged once more without the words that
`bots/exceptions.yaml` erases, and that verdict counts: what looks like a bot only for such a word
is none. No agent (null) counts as the empty one. An agent that nothing matches is no bot.

Only the first `MAX_AGENT_LENGTH` characters are read; `agent_patterns.py` says why no agent can
make the engine hang.

The verdict is a function of the agent and of the bot list, whose `version` changes with any
pattern, friend or engine: equal versions give equal labels.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import crawleruseragents
import pyarrow as pa
import yaml
from crawlerdetect.providers import crawlers as crawlerdetect_patterns
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.quality.strict_yaml import read_yaml
from pipeline_platform.web_events.agent_patterns import MAX_AGENT_LENGTH, AgentPatterns, Pattern

FOLDER = Path(__file__).parent / "bots"
FRIEND = "friend:"
CASE_SENSITIVE_LISTS = ("crawler-user-agents",)
VERDICTS = pa.schema(
    [
        pa.field("user_agent", pa.string()),
        pa.field("is_bot", pa.bool_(), nullable=False),
        pa.field("bot_rule_id", pa.string()),
    ]
)

_NEVER = r"(?!)"
_Text = Annotated[str, Field(min_length=1)]
_Model = TypeVar("_Model", bound=BaseModel)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Entry):
    """One rule of our own: its pattern is looked for anywhere in the agent, in any case.

    `examples` must be labelled by this very pattern; `not_matching` must not.
    """

    id: Annotated[str, Field(pattern=r"^[a-z]+/[a-z-]+$")]
    category: Literal[
        "attack",
        "crawler",
        "feed",
        "headless",
        "library",
        "malformed",
        "monitor",
        "people",
        "preview",
    ]
    description: _Text
    pattern: _Text
    examples: Annotated[tuple[str, ...], Field(min_length=1)]
    not_matching: tuple[str, ...] = ()


class Rules(_Entry):
    """`bots/rules.yaml`."""

    specific: tuple[Rule, ...]
    generic: tuple[Rule, ...]
    people: tuple[Rule, ...]
    malformed: tuple[Rule, ...]


class Erased(_Entry):
    """Words that are blanked out before a verdict stands; no example of theirs is a bot."""

    id: Annotated[str, Field(pattern=r"^[a-z]+/[a-z-]+$")]
    description: _Text
    pattern: _Text
    examples: Annotated[tuple[str, ...], Field(min_length=1)]


class SwitchedOff(_Entry):
    """A pattern of a maintained list that is not used, and why.

    `example`: an agent of a person that it labels (none when our engine can't run it).
    """

    list: Literal["crawler-user-agents", "crawlerdetect"]
    pattern: _Text
    reason: _Text
    example: str | None = None


class Exceptions(_Entry):
    """`bots/exceptions.yaml`."""

    erased: tuple[Erased, ...]
    switched_off: tuple[SwitchedOff, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether an agent is a bot, and the id of the rule that says so or that befriends it."""

    is_bot: bool
    bot_rule_id: str | None


_NO_BOT = Verdict(is_bot=False, bot_rule_id=None)


class BotList:
    """Rules in their order of precedence, ready to judge; `version` is a short hash of them all."""

    def __init__(
        self,
        rules: Rules,
        exceptions: Exceptions,
        lists: Mapping[str, Iterable[str]],
        friends: Mapping[str, str],
    ) -> None:
        """Compile the rules; `lists` gives patterns by list, `friends` names by agent pattern.

        Raises InvalidSettingError naming a pattern that the engine can't run, or a friend's
        pattern that an empty agent matches, for every agent would be that friend.
        """
        off = {(one.list, one.pattern) for one in exceptions.switched_off}
        listed = [
            (f"{name}:{pattern}", Pattern(pattern, name in CASE_SENSITIVE_LISTS))
            for name, patterns in lists.items()
            for pattern in patterns
            if (name, pattern) not in off
        ]
        ordered = [
            *_own(rules.specific),
            *listed,
            *_own(rules.generic),
            *_own(rules.people),
            *_own(rules.malformed),
        ]
        people = {rule.id for rule in rules.people}
        self._verdicts = [
            _NO_BOT if rule_id in people else Verdict(is_bot=True, bot_rule_id=rule_id)
            for rule_id, _ in ordered
        ]
        self._patterns = AgentPatterns([pattern for _, pattern in ordered])
        self._friends = _friends(friends)
        self._befriended = [
            Verdict(is_bot=False, bot_rule_id=f"{FRIEND}{name}") for name in friends.values()
        ]
        erased = [one.pattern for one in exceptions.erased]
        self._erased = re.compile("|".join(f"(?:{one})" for one in erased) or _NEVER, re.IGNORECASE)
        engine = metadata.version("ua-parser-rs")
        told = json.dumps([list(friends.items()), ordered, erased, MAX_AGENT_LENGTH, engine])
        self.version = hashlib.sha256(told.encode()).hexdigest()[:12]

    def judge(self, agent: str | None) -> Verdict:
        """Judge one agent as the log or event gives it."""
        text = (agent or "")[:MAX_AGENT_LENGTH]
        friend = self._friends.first_match(text)
        if friend is not None:
            return self._befriended[friend]
        verdict = self._by_rules(text)
        if verdict.is_bot and (rest := self._erased.sub(" ", text)) != text:
            return self._by_rules(rest) if rest.strip() else _NO_BOT
        return verdict

    def _by_rules(self, text: str) -> Verdict:
        found = self._patterns.first_match(text)
        return _NO_BOT if found is None else self._verdicts[found]


def load_bot_list(friends: Mapping[str, str] | None = None, *, folder: Path = FOLDER) -> BotList:
    """Return the bot list: our rules, the installed lists, and the runbook's friends.

    `friends` gives a name by agent pattern, as in `rulings.friends` of the runbook. Raises
    InvalidSettingError naming the file, or the pattern, that can't be used.
    """
    return _loaded(tuple((friends or {}).items()), folder)


def load_rules(folder: Path = FOLDER) -> Rules:
    """Read our own rules; raises InvalidSettingError naming file and field."""
    return _read(folder / "rules.yaml", Rules)


def load_exceptions(folder: Path = FOLDER) -> Exceptions:
    """Read what is erased and switched off; raises InvalidSettingError naming file and field."""
    return _read(folder / "exceptions.yaml", Exceptions)


def list_patterns() -> dict[str, tuple[str, ...]]:
    """Return the patterns of the installed maintained lists, by list, in the lists' own order."""
    return {
        "crawler-user-agents": tuple(
            str(one["pattern"]) for one in crawleruseragents.CRAWLER_USER_AGENTS_DATA
        ),
        "crawlerdetect": tuple(crawlerdetect_patterns.data),
    }


def judge_agents(agents: Iterable[str | None], bot_list: BotList) -> pa.Table:
    """Judge distinct agents; give each once, for each costs one look at all rules.

    Returns a table of VERDICTS, a row for each agent in the order given.
    """
    given = list(agents)
    verdicts = [bot_list.judge(agent) for agent in given]
    return pa.table(
        [
            pa.array(given, pa.string()),
            pa.array([one.is_bot for one in verdicts], pa.bool_()),
            pa.array([one.bot_rule_id for one in verdicts], pa.string()),
        ],
        schema=VERDICTS,
    )


@cache
def _loaded(friends: tuple[tuple[str, str], ...], folder: Path) -> BotList:
    return BotList(load_rules(folder), load_exceptions(folder), list_patterns(), dict(friends))


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        return model.model_validate(read_yaml(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise InvalidSettingError(f"The bot rules of {path} can't be used: {error}.") from error


def _own(rules: tuple[Rule, ...]) -> list[tuple[str, Pattern]]:
    return [(rule.id, Pattern(rule.pattern)) for rule in rules]


def _friends(friends: Mapping[str, str]) -> AgentPatterns:
    for pattern, name in friends.items():
        if AgentPatterns([Pattern(pattern)]).first_match("") is not None:
            raise InvalidSettingError(
                f"The friend {name!r} has the pattern {pattern!r}, which every agent matches; "
                "write the name of the one client that is meant."
            )
    return AgentPatterns([Pattern(pattern) for pattern in friends])
