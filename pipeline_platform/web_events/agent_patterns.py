"""Ordered patterns over user agents: the first that matches, in time linear in the agent's length.

The engine is Rust's regular expressions behind a filter on fixed letters, as ua-parser-rs has it
for its own device rules: thousands of patterns cost about as much as the few whose letters occur.
No pattern can back-track, so no agent can make it hang; look-around is not to be had.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import ua_parser_rs

from pipeline_platform.failures import InvalidSettingError

MAX_AGENT_LENGTH = 1_000
"""Characters of an agent that are read at all; browsers stay below 700, attacks do not."""


class Pattern(NamedTuple):
    """An expression, looked for anywhere in an agent, and whether case matters to it."""

    expression: str
    is_case_sensitive: bool = False


class AgentPatterns:
    """Patterns compiled together; their order is their precedence."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Raise InvalidSettingError naming an expression that the engine can't run."""
        try:
            self._extractor = ua_parser_rs.DeviceExtractor(
                (one.expression, _flag(one), str(position), None, None)
                for position, one in enumerate(patterns)
            )
        except (SyntaxError, ValueError) as error:
            raise InvalidSettingError(f"A pattern of user agents can't be used: {error}") from error

    def first_match(self, agent: str) -> int | None:
        """Return the position of the first pattern found in the agent, or None."""
        found = self._extractor.extract(agent)
        return None if found is None else int(found.family)


def _flag(pattern: Pattern) -> Literal["i"] | None:
    return None if pattern.is_case_sensitive else "i"
