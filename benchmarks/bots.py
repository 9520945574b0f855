"""What a distinct agent costs, and how well the bot list does on labelled agents.

Agents are judged (bot or not, by which rule) and described (browser, system, kind of device) once
each; the time is processor time of one thread, so it holds on a busy machine. With `--labelled` a
CSV of agents (user_agent or ua, is_bot) is judged too, by the agent alone; a small one is
tests/unit/web_events/labelled_agents.csv.

    python -m benchmarks.bots [--agents 100000] [--labelled FILE]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline_platform.web_events.agent_facts import agent_facts
from pipeline_platform.web_events.bot_evaluation import evaluate, read_labelled_agents
from pipeline_platform.web_events.bots import BotList, judge_agents, load_bot_list
from pipeline_platform.web_events.user_agents import describe_agents

SECONDS_BAR = 5.0
AGENTS_OF_BAR = 100_000
SHARE_BAR = 0.97
EVENTS_PER_AGENT = 10
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SHAPES = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + WEBKIT + " Chrome/{0}.0.{1}.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 13; SM-S{1}B) " + WEBKIT + " Chrome/{0}.0.0.0 Mobile Safari/537",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{0} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.{0} Mobile/15E{1} Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.{0}; rv:{1}.0) Gecko/20100101 Firefox/{1}.0",
    "Mozilla/5.0 (compatible; AhrefsBot/{0}.{1}; +http://ahrefs.com/robot/)",
    "python-requests/2.{0}.{1}",
    "unheard-of-client-{0}/{1} (a platform; of its own)",
)


def made_agents(count: int) -> list[str]:
    """Return as many distinct agents, of browsers, crawlers, libraries and unknown clients."""
    return [
        SHAPES[n % len(SHAPES)].format(n // len(SHAPES) % 90, n // len(SHAPES) // 90 + 100)
        for n in range(count)
    ]


def speed(bot_list: BotList, count: int) -> bool:
    """Print the time of judging and describing, alone and for ten events of each agent."""
    agents = made_agents(count)
    judge_agents(agents[:10], bot_list)
    describe_agents(agents[:10])
    began = time.process_time()
    judge_agents(agents, bot_list)
    judged = time.process_time()
    describe_agents(agents)
    described = time.process_time()
    events = pa.table({"user_agent": agents * EVENTS_PER_AGENT})
    with duckdb.connect(config={"threads": 1}) as engine:
        agent_facts(engine, engine.from_arrow(events), bot_list).fetchall()
    facts = time.process_time()
    print(f"{count:,} distinct agents, processor seconds of one thread")
    print(f"{'judged':<45}{judged - began:8.2f}")
    print(f"{'described':<45}{described - judged:8.2f}")
    print(f"{f'facts of {len(events):,} events with these agents':<45}{facts - described:8.2f}")
    per_bar = (judged - began) * AGENTS_OF_BAR / count
    is_met = per_bar <= SECONDS_BAR
    verdict = "met" if is_met else "missed"
    print(
        f"Bar ({AGENTS_OF_BAR:,} agents judged in {SECONDS_BAR:g} s): {verdict}, {per_bar:.2f} s."
    )
    return is_met


def quality(bot_list: BotList, path: Path) -> bool:
    """Print precision and recall on labelled agents."""
    found = evaluate(read_labelled_agents(path), bot_list)
    print(
        f"{path.name}: precision {found.precision:.4f}, recall {found.recall:.4f}; "
        f"{found.false_alarms} false alarms, {found.missed} bots missed."
    )
    is_met = min(found.precision, found.recall) >= SHARE_BAR
    print(f"Bar (precision and recall at least {SHARE_BAR}): {'met' if is_met else 'missed'}.")
    return is_met


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.bots", description=__doc__)
    parser.add_argument("--agents", type=int, default=AGENTS_OF_BAR)
    parser.add_argument("--labelled", type=Path, metavar="FILE", help="CSV of labelled agents")
    given = parser.parse_args(arguments)
    bot_list = load_bot_list()
    met = [speed(bot_list, given.agents)]
    if given.labelled:
        met.append(quality(bot_list, given.labelled))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
