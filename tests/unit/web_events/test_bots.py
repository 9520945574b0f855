"""Agents get the verdict and the rule that bots.py documents."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.web_events.agent_patterns import (
    MAX_AGENT_LENGTH,
    AgentPatterns,
    Pattern,
)
from pipeline_platform.web_events.bots import (
    FOLDER,
    BotList,
    Erased,
    Exceptions,
    Rule,
    Rules,
    Verdict,
    judge_agents,
    list_patterns,
    load_bot_list,
    load_exceptions,
    load_rules,
)

BOT_LIST = load_bot_list()
RULES = load_rules()
EXCEPTIONS = load_exceptions()
BOT_RULES = (*RULES.specific, *RULES.generic, *RULES.malformed)
ALL_RULES = (*BOT_RULES, *RULES.people)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PEOPLE = (
    CHROME,
    f"{CHROME} Edg/120.0.2210.91",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 13; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/119.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
    "Mobile Safari/537.36",
    "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/87.0.4280.88 "
    "Safari/537.36 WebAppManager",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80/37.6334; U; en) Presto/2.12.423 Version/12.16",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; .NET CLR 2.0.50727)",
    "Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Mobile/15E148 Instagram 290.0.0.13.76 (iPad11,6; iPadOS 16_5; en_US; scale=2.00)",
)
BOTS = (
    GOOGLEBOT,
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like "
    "Gecko) Chrome/120.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; "
    "+http://www.google.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; "
    "+claudebot@anthropic.com)",
    "curl/8.4.0",
    "python-requests/2.31.0",
    "Go-http-client/1.1",
    "okhttp/4.12.0",
    "Java/17.0.9",
    "-",
    "",
)


def rule_of(rules: tuple[Rule, ...], **changed: object) -> Rule:
    return rules[0].model_copy(update=changed)


def small_list(
    *,
    rules: Rules | None = None,
    exceptions: Exceptions | None = None,
    lists: dict[str, tuple[str, ...]] | None = None,
    friends: dict[str, str] | None = None,
) -> BotList:
    empty = Rules(specific=(), generic=(), people=(), malformed=())
    return BotList(
        rules or empty,
        exceptions or Exceptions(erased=(), switched_off=()),
        lists or {},
        friends or {},
    )


@pytest.mark.parametrize("agent", BOTS)
def test_well_known_bots_are_bots(agent: str) -> None:
    assert BOT_LIST.judge(agent).is_bot


@pytest.mark.parametrize("agent", PEOPLE)
def test_peoples_browsers_are_no_bots_and_have_no_rule(agent: str) -> None:
    assert BOT_LIST.judge(agent) == Verdict(is_bot=False, bot_rule_id=None)


def test_no_agent_counts_as_the_empty_one() -> None:
    assert BOT_LIST.judge(None) == Verdict(is_bot=True, bot_rule_id="malformed/empty")


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_a_rule_matches_each_of_its_examples(rule: Rule) -> None:
    alone = AgentPatterns([Pattern(rule.pattern)])
    assert [one for one in rule.examples if alone.first_match(one) is None] == []


@pytest.mark.parametrize("rule", BOT_RULES, ids=lambda rule: rule.id)
def test_the_examples_of_a_bot_rule_are_bots(rule: Rule) -> None:
    assert [one for one in rule.examples if not BOT_LIST.judge(one).is_bot] == []


@pytest.mark.parametrize("rule", RULES.people, ids=lambda rule: rule.id)
def test_the_examples_of_peoples_rules_are_no_bots(rule: Rule) -> None:
    assert [one for one in rule.examples if BOT_LIST.judge(one).is_bot] == []


@pytest.mark.parametrize("rule", RULES.people, ids=lambda rule: rule.id)
def test_a_peoples_rule_saves_somebody(rule: Rule) -> None:
    others = tuple(one for one in RULES.people if one.id != rule.id)
    without = BotList(
        RULES.model_copy(update={"people": others}), EXCEPTIONS, list_patterns(), friends={}
    )
    assert any(without.judge(one).is_bot for one in rule.examples)


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_what_a_rule_must_not_match_is_no_bot(rule: Rule) -> None:
    assert [one for one in rule.not_matching if BOT_LIST.judge(one).is_bot] == []


@pytest.mark.parametrize("erased", EXCEPTIONS.erased, ids=lambda one: one.id)
def test_an_erased_word_saves_each_of_its_examples(erased: Erased) -> None:
    others = tuple(one for one in EXCEPTIONS.erased if one.id != erased.id)
    without = BotList(
        RULES, EXCEPTIONS.model_copy(update={"erased": others}), list_patterns(), friends={}
    )
    verdicts = [(without.judge(one).is_bot, BOT_LIST.judge(one).is_bot) for one in erased.examples]
    assert verdicts == [(True, False)] * len(erased.examples)


@pytest.mark.parametrize("off", EXCEPTIONS.switched_off, ids=lambda one: one.pattern[:40])
def test_a_pattern_that_is_switched_off_is_in_the_installed_list(off) -> None:
    assert off.pattern in list_patterns()[off.list]


@pytest.mark.parametrize(
    "off", [one for one in EXCEPTIONS.switched_off if one.example], ids=lambda one: one.pattern[:40]
)
def test_a_pattern_that_is_switched_off_would_label_its_example(off) -> None:
    alone = small_list(lists={off.list: (off.pattern,)})
    assert (alone.judge(off.example).is_bot, BOT_LIST.judge(off.example).is_bot) == (True, False)


def test_rule_ids_are_unique() -> None:
    ids = [rule.id for rule in (*ALL_RULES, *EXCEPTIONS.erased)]
    assert len(ids) == len(set(ids))


def test_a_crawler_on_a_cubot_phone_is_a_bot() -> None:
    agent = "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) (compatible; Googlebot/2.1)"
    assert BOT_LIST.judge(agent).is_bot


def test_specific_rules_come_before_the_lists() -> None:
    assert BOT_LIST.judge("curl/8.4.0").bot_rule_id == "library/curl"


def test_the_lists_come_before_the_generic_rules() -> None:
    assert BOT_LIST.judge(GOOGLEBOT).bot_rule_id == r"crawler-user-agents:Googlebot\/"


def test_generic_rules_find_what_no_list_knows() -> None:
    assert BOT_LIST.judge("AcmeUnheardOfBot/0.1").bot_rule_id == "generic/bot"


def test_peoples_rules_come_before_the_malformed_ones() -> None:
    assert not BOT_LIST.judge("Nokia301/02.51").is_bot


def test_a_friend_is_no_bot_and_the_rule_tells_who_it_is() -> None:
    befriending = load_bot_list({r"^acme-exporter/": "warehouse-export"})
    assert befriending.judge("acme-exporter/2 python-requests/2.31") == Verdict(
        is_bot=False, bot_rule_id="friend:warehouse-export"
    )


def test_a_friend_leaves_others_of_its_library_bots() -> None:
    befriending = load_bot_list({r"^acme-exporter/": "warehouse-export"})
    assert befriending.judge("python-requests/2.31").is_bot


@pytest.mark.parametrize("pattern", ["", ".*", "^"])
def test_a_friend_that_everybody_would_be_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidSettingError, match="every agent matches"):
        load_bot_list({pattern: "all"})


def test_a_friends_pattern_that_is_no_expression_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="can't be used"):
        load_bot_list({"acme(": "acme"})


def test_the_version_is_stable() -> None:
    assert BotList(RULES, EXCEPTIONS, list_patterns(), {}).version == BOT_LIST.version


def test_the_version_changes_with_a_rule() -> None:
    changed = RULES.model_copy(update={"generic": (rule_of(RULES.generic, pattern="botty"),)})
    assert BotList(changed, EXCEPTIONS, list_patterns(), {}).version != BOT_LIST.version


def test_the_version_changes_with_a_pattern_of_a_list() -> None:
    lists = {**list_patterns(), "crawlerdetect": (*list_patterns()["crawlerdetect"], "acme")}
    assert BotList(RULES, EXCEPTIONS, lists, {}).version != BOT_LIST.version


def test_the_version_changes_with_an_exception() -> None:
    fewer = EXCEPTIONS.model_copy(update={"erased": EXCEPTIONS.erased[1:]})
    assert BotList(RULES, fewer, list_patterns(), {}).version != BOT_LIST.version


def test_the_version_changes_with_a_friend() -> None:
    assert load_bot_list({"^acme/": "acme"}).version != BOT_LIST.version


def test_the_version_does_not_change_with_a_description() -> None:
    reworded = (rule_of(RULES.generic, description="Other words."), *RULES.generic[1:])
    changed = RULES.model_copy(update={"generic": reworded})
    assert BotList(changed, EXCEPTIONS, list_patterns(), {}).version == BOT_LIST.version


@settings(deadline=None)  # the first agent makes the engine compile its patterns
@given(st.lists(st.one_of(st.none(), st.sampled_from([*BOTS, *PEOPLE]), st.text(max_size=60))))
def test_verdicts_do_not_depend_on_order_or_company(agents: list[str | None]) -> None:
    table = judge_agents(agents, BOT_LIST).to_pylist()
    backwards = judge_agents(agents[::-1], BOT_LIST).to_pylist()
    alone = [judge_agents([agent], BOT_LIST).to_pylist()[0] for agent in agents]
    assert table == backwards[::-1] == alone


@settings(deadline=None)
@given(st.text(max_size=200))
def test_what_stands_behind_the_limit_changes_nothing(tail: str) -> None:
    head = CHROME.ljust(MAX_AGENT_LENGTH)
    assert BOT_LIST.judge(head + tail) == BOT_LIST.judge(head)


@pytest.mark.parametrize(
    "agent",
    [
        "a" * 100_000,
        "(" * 100_000,
        "Mozilla/5.0 (" + "; " * 50_000,
        "cubot " * 20_000,
        "m_bot_" + "a_" * 50_000 + "!",
        "x@" + "a." * 50_000,
        "\x00\u202e\ufffd" * 30_000,
        ("Nokia" + "-" * 40) * 2_000 + "bot/",
    ],
    ids=[
        "letters",
        "brackets",
        "comment",
        "erased",
        "near-erased",
        "contact",
        "control",
        "devices",
    ],
)
def test_a_hostile_agent_takes_no_time(agent: str) -> None:
    began = time.process_time()
    for _ in range(20):
        BOT_LIST.judge(agent)
    assert time.process_time() - began < 0.5


def test_a_file_of_rules_with_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    text = (FOLDER / "rules.yaml").read_text(encoding="utf-8")
    (tmp_path / "rules.yaml").write_text(text.replace("category:", "colour:", 1))
    with pytest.raises(InvalidSettingError, match=r"rules\.yaml"):
        load_rules(tmp_path)


def test_a_rule_without_an_example_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "specific:\n- {id: a/b, category: crawler, description: A, pattern: b, examples: []}\n"
        "generic: []\npeople: []\nmalformed: []\n"
    )
    with pytest.raises(InvalidSettingError, match="examples"):
        load_rules(tmp_path)
