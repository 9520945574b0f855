"""Facts about each distinct user agent of a relation: bot or not, browser, system, kind of device.

Cost grows with the number of agents, not of events, and an agent that an earlier date of the same
process has shown is not judged again (the cache holds the `CACHED_AGENTS` seen last).
"""

from collections.abc import Sequence
from functools import lru_cache

import duckdb
import pyarrow as pa

from pipeline_platform.web_events.agent_patterns import MAX_AGENT_LENGTH
from pipeline_platform.web_events.bots import BotList
from pipeline_platform.web_events.user_agents import describe

CACHED_AGENTS = 50_000
FACTS = pa.schema(
    [
        pa.field("agent_key", pa.string(), nullable=False),
        pa.field("browser", pa.string()),
        pa.field("browser_version", pa.string()),
        pa.field("operating_system", pa.string()),
        pa.field("device_type", pa.string(), nullable=False),
        pa.field("is_bot", pa.bool_(), nullable=False),
        pa.field("bot_rule_id", pa.string()),
    ]
)

_Facts = tuple[str | None, str | None, str | None, str, bool, str | None]


def agent_key_sql(column: str = "user_agent") -> str:
    """Return the SQL for what `agent_facts` knows an agent by; null and empty are the same.

    It is the part of the agent that is read, so that a date of huge agents costs no more memory.
    """
    text = f"coalesce({column}, '')"
    # Bytes are counted at once, characters one by one.
    return (
        f"CASE WHEN strlen({text}) <= {MAX_AGENT_LENGTH} THEN {text}"
        f" ELSE left({text}, {MAX_AGENT_LENGTH}) END"
    )


def agent_facts(
    engine: duckdb.DuckDBPyConnection, events: duckdb.DuckDBPyRelation, bot_list: BotList
) -> duckdb.DuckDBPyRelation:
    """Return the facts (columns of FACTS) of each distinct agent of `events`, one row per key.

    `events` needs a column `user_agent` and belongs to `engine`, as the answer does. Join with

        LEFT JOIN facts ON facts.agent_key = {agent_key_sql("events.user_agent")}

    Every event, one without an agent too, finds exactly one row. The device of a bot is `bot`; of
    a friend, what else its agent says.
    """
    return engine.from_arrow(facts_of(agents_in(events), bot_list))


def agents_in(events: duckdb.DuckDBPyRelation) -> list[str]:
    """Return the key of each distinct agent of `events`."""
    keys = events.project(f"{agent_key_sql()} AS agent_key").distinct().to_arrow_table()
    return [str(key) for key in keys.column(0).to_pylist()]


def facts_of(agents: Sequence[str], bot_list: BotList) -> pa.Table:
    """Return the facts (columns of FACTS) of distinct agents, given by their keys."""
    rows = [_facts(agent, bot_list) for agent in agents]
    columns = list(zip(*rows, strict=True)) or [()] * (len(FACTS) - 1)
    arrays = [
        pa.array(values, field.type)
        for field, values in zip(FACTS, [agents, *columns], strict=True)
    ]
    return pa.table(arrays, schema=FACTS)


@lru_cache(maxsize=CACHED_AGENTS)
def _facts(agent: str, bot_list: BotList) -> _Facts:
    verdict = bot_list.judge(agent)
    said = describe(agent)
    device = "bot" if verdict.is_bot else said.device_type
    if device == "bot" and not verdict.is_bot:
        device = "unknown"
    return (
        said.browser,
        said.browser_version,
        said.operating_system,
        device,
        verdict.is_bot,
        verdict.bot_rule_id,
    )
