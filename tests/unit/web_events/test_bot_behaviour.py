"""Visitors that behave like bots, and visitors that must not be taken for them."""

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.web_events.bot_behaviour import (
    NO_ASSETS,
    REQUEST_RATE,
    BehaviourLimits,
    behaviour_bots,
    label_version,
)
from pipeline_platform.web_events.bots import load_bot_list
from tests.examples import examples

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("event_date", pa.date32()),
        ("visitor_id", pa.string()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("source", pa.string()),
        ("url_path", pa.string()),
        ("referrer", pa.string()),
        ("status_code", pa.int32()),
        ("is_bot", pa.bool_()),
        ("bot_rule_id", pa.string()),
    ]
)
LIMITS = BehaviourLimits(max_pages_per_minute=4, fast_minutes=2, min_pages_without_assets=3)


def event(visitor: str = "v", *, after: float = 0, **other: object) -> dict[str, object]:
    event_at = NOON + timedelta(seconds=after)
    return {
        "event_date": event_at.date(),
        "visitor_id": visitor,
        "event_at": event_at,
        "source": "access_log",
        "url_path": "/page",
        "referrer": "https://example.org/",
        "status_code": 200,
        "is_bot": False,
        "bot_rule_id": None,
        **other,
    }


def bots(events: list[dict[str, object]], limits: BehaviourLimits = LIMITS) -> dict[str, str]:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        relation = engine.from_arrow(pa.Table.from_pylist(events, schema=SCHEMA))
        found = behaviour_bots(
            engine, relation, limits=limits, asset_logging_sources=["access_log"]
        )
        return dict(found.project("visitor_id, bot_rule_id").fetchall())


def fast(minutes: int, per_minute: int, **other: object) -> list[dict[str, object]]:
    return [
        event(after=60 * minute + second, **other)
        for minute in range(minutes)
        for second in range(per_minute)
    ]


def bare(pages: int, **other: object) -> list[dict[str, object]]:
    return [event(after=60 * page, referrer=None, **other) for page in range(pages)]


def test_more_pages_than_allowed_in_enough_minutes_is_a_bot() -> None:
    assert bots(fast(2, 5)) == {"v": REQUEST_RATE}


def test_as_many_pages_as_allowed_is_no_bot() -> None:
    assert bots(fast(2, 4)) == {}


def test_one_burst_is_no_bot() -> None:
    assert bots(fast(1, 50)) == {}


def test_assets_do_not_count_as_pages() -> None:
    assert bots(fast(2, 5, url_path="/style.CSS")) == {}


def test_pages_without_assets_and_referrer_are_a_bots() -> None:
    assert bots(bare(3)) == {"v": NO_ASSETS}


def test_too_few_pages_without_assets_are_no_bots() -> None:
    assert bots(bare(2)) == {}


def test_one_asset_is_a_browsers() -> None:
    assert bots([*bare(3), event(url_path="/logo.png", referrer=None)]) == {}


def test_one_referrer_is_a_browsers() -> None:
    assert bots([*bare(3), event()]) == {}


@pytest.mark.parametrize("none", ["", "-"])
def test_how_logs_write_no_referrer(none: str) -> None:
    assert bots([event(after=60 * page, referrer=none) for page in range(3)]) == {"v": NO_ASSETS}


def test_sources_that_log_no_assets_are_spared() -> None:
    assert bots(bare(9, source="analytics_beacon")) == {}


def test_pages_that_were_not_answered_do_not_count() -> None:
    assert bots(bare(9, status_code=304)) == {}


@pytest.mark.parametrize(
    "labels", [{"is_bot": True, "bot_rule_id": "library/curl"}, {"bot_rule_id": "friend:acme"}]
)
def test_bots_and_friends_by_their_agent_are_left_alone(labels: dict[str, object]) -> None:
    assert bots([*fast(3, 9, **labels), *bare(5, **labels)]) == {}


def test_who_breaks_both_rules_gets_the_first() -> None:
    assert bots(fast(2, 5, referrer=None)) == {"v": REQUEST_RATE}


def test_visitors_are_judged_apart() -> None:
    events = [*bare(3), *(event("w", after=60 * page, referrer=None) for page in range(2))]
    assert bots(events) == {"v": NO_ASSETS}


def test_the_defaults_spare_an_office_in_its_morning() -> None:
    assert bots(fast(30, 50), BehaviourLimits()) == {}


@examples(10)
@given(st.permutations([*fast(2, 5), *bare(3, visitor="w")]))
def test_the_order_of_events_does_not_matter(events: list[dict[str, object]]) -> None:
    assert bots(events) == {"v": REQUEST_RATE, "w": NO_ASSETS}


def test_the_version_of_labels_changes_with_a_limit() -> None:
    bot_list = load_bot_list()
    assert label_version(bot_list, LIMITS) != label_version(bot_list, BehaviourLimits())


def test_the_version_of_labels_changes_with_the_bot_list() -> None:
    befriending = load_bot_list({"acme": "acme"})
    assert label_version(load_bot_list(), LIMITS) != label_version(befriending, LIMITS)
