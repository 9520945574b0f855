"""Every event finds the facts of its agent, and an agent is judged once."""

import duckdb
import pyarrow as pa
import pytest

from pipeline_platform.web_events import agent_facts as module
from pipeline_platform.web_events import refinement
from pipeline_platform.web_events.agent_facts import FACTS, agent_facts, agent_key_sql
from pipeline_platform.web_events.agent_patterns import MAX_AGENT_LENGTH
from pipeline_platform.web_events.bots import BotList, Verdict, load_bot_list
from pipeline_platform.web_events.bots import _loaded as cached_lists
from pipeline_platform.web_events.run_context import load_runbook

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"


class CountingList(BotList):
    """The bot list, which counts what it is asked."""

    asked = 0

    def judge(self, agent: str | None) -> Verdict:
        self.asked += 1
        return super().judge(agent)


@pytest.fixture
def engine():
    with duckdb.connect() as con:
        yield con


def events_of(engine, *agents: str | None):
    return engine.from_arrow(pa.table({"user_agent": pa.array(agents, pa.string())}))


def counting_list() -> CountingList:
    from pipeline_platform.web_events.bots import list_patterns, load_exceptions, load_rules

    return CountingList(load_rules(), load_exceptions(), list_patterns(), {})


def test_one_row_for_each_distinct_agent(engine) -> None:
    facts = agent_facts(engine, events_of(engine, FIREFOX, FIREFOX, "curl/8"), load_bot_list())
    assert sorted(facts.project("agent_key").fetchall()) == [(FIREFOX,), ("curl/8",)]


def test_columns_are_those_of_facts(engine) -> None:
    facts = agent_facts(engine, events_of(engine, FIREFOX), load_bot_list())
    assert facts.to_arrow_table().schema.names == FACTS.names


def test_facts_of_a_person_and_of_a_bot(engine) -> None:
    facts = agent_facts(engine, events_of(engine, FIREFOX, "curl/8.4.0"), load_bot_list())
    assert sorted(facts.fetchall()) == [
        (FIREFOX, "Firefox", "121.0", "Linux", "desktop", False, None),
        ("curl/8.4.0", "curl", "8.4.0", None, "bot", True, "library/curl"),
    ]


def test_a_friends_device_is_no_bot(engine) -> None:
    agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    friends = load_bot_list({"Googlebot": "google"})
    row = agent_facts(engine, events_of(engine, agent), friends).fetchone()
    assert row[4:] == ("unknown", False, "friend:google")


def test_every_event_finds_one_row_also_without_an_agent(engine) -> None:
    events = events_of(engine, None, "", FIREFOX, "x" * 5_000, "x" * 6_000)
    facts = agent_facts(engine, events, load_bot_list())
    events.create_view("events")
    facts.create_view("facts")
    joined = engine.sql(
        "SELECT count(*), count(is_bot) FROM events LEFT JOIN facts "
        f"ON facts.agent_key = {agent_key_sql('events.user_agent')}"
    )
    assert joined.fetchone() == (5, 5)


def test_null_and_empty_are_one_agent(engine) -> None:
    assert agent_facts(engine, events_of(engine, None, ""), load_bot_list()).fetchall() == [
        ("", None, None, None, "bot", True, "malformed/empty")
    ]


def test_no_events_have_no_facts(engine) -> None:
    assert agent_facts(engine, events_of(engine), load_bot_list()).fetchall() == []


def test_an_agent_of_an_earlier_date_is_not_judged_again(engine) -> None:
    bot_list = counting_list()
    agent_facts(engine, events_of(engine, FIREFOX, "curl/8"), bot_list)
    agent_facts(engine, events_of(engine, FIREFOX, "wget/1"), bot_list)
    assert bot_list.asked == 3


def test_another_bot_list_judges_anew(engine) -> None:
    events = events_of(engine, "curl/8 acme")
    agent_facts(engine, events, load_bot_list())
    befriended = agent_facts(engine, events, load_bot_list({"acme": "acme"})).fetchone()
    assert befriended[5:] == (False, "friend:acme")


def test_the_cache_is_bounded() -> None:
    assert module._facts.cache_info().maxsize == module.CACHED_AGENTS


def test_a_huge_agent_is_known_by_its_beginning(engine) -> None:
    facts = agent_facts(engine, events_of(engine, "y" * 100_000), load_bot_list())
    assert facts.project("agent_key").fetchall() == [("y" * MAX_AGENT_LENGTH,)]


def test_characters_of_several_bytes_count_once(engine) -> None:
    agents = ["ü" * MAX_AGENT_LENGTH, "ü" * (MAX_AGENT_LENGTH + 1)]
    facts = agent_facts(engine, events_of(engine, *agents), load_bot_list())
    assert facts.project("agent_key").fetchall() == [("ü" * MAX_AGENT_LENGTH,)]


def test_what_is_prepared_is_what_days_are_refined_with() -> None:
    refinement.prepare()
    friends = load_runbook().rulings.friends
    before = cached_lists.cache_info().misses
    load_bot_list(friends)
    assert cached_lists.cache_info().misses == before
