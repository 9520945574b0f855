"""Every mart holds what plain Python computes from the same events, on each engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.dbt import model_tests
from pipeline_platform.orchestration.mart_builds import pruning_of
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import (
    DAILY_SUMMARY,
    FUNNEL,
    MARTS,
    QUALITY_TREND,
    SESSIONS,
    TRAFFIC_BY_SOURCE,
    WEEKLY_PERFORMANCE_SUMMARY,
)
from tests.integration.web_events import expected
from tests.integration.web_events.conftest import build_and_publish, rows_of
from tests.integration.web_events.silver_events import Event, event, publish_silver

FIRST, LAST = date(2024, 12, 26), date(2025, 1, 8)
"""Two weeks around a new year: 2024-12-30 to 2025-01-05 is week 1 of 2025."""

BUILT = (date(2024, 12, 31), date(2025, 1, 6))
WEEKS = (date(2024, 12, 30), date(2025, 1, 12))
STEPS = (
    lambda one: one["event_type"] == "page_view",
    lambda one: one["event_type"] == "add_to_cart",
    lambda one: (
        one["event_type"] == "page_view" and (one["url_path"] or "").startswith("/checkout")
    ),
    lambda one: one["event_type"] == "purchase",
)
STEP_NAMES = ("visit", "cart", "checkout", "purchase")
TYPES = ("page_view", "page_view", "page_view", "add_to_cart", "purchase", "click")


def random_events(seed: int, sessions: int = 150) -> list[Event]:
    """Make sessions of a few visitors, people and bots mixed, with gaps in every column."""
    random = Random(seed)
    return [one for number in range(sessions) for one in random_session(random, number)]


def random_session(random: Random, number: int) -> Iterator[Event]:
    days = (LAST - FIRST).days + 1
    day = FIRST + timedelta(days=random.randrange(days))
    if day == date(2025, 1, 2):
        return  # a day without any event
    only_bots = day == date(2025, 1, 3)
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    at += timedelta(minutes=random.choice((random.randrange(1400), 1415)))
    visitor = f"v{random.randrange(12)}"
    for place in range(1, random.randrange(2, 20)):
        at += timedelta(seconds=random.randrange(120), microseconds=random.randrange(10**6))
        if at.date() != day:
            return
        yield event(
            at,
            place,
            session=f"{visitor}-{number}",
            visitor=visitor,
            event_type=random.choice(TYPES),
            is_bot=only_bots or random.random() < 0.2,
            bot_rule_id=None,
            user_id=random.choice((None, "ann", "bob")),
            client_address=random.choice((None, "192.0.2.1", "192.0.2.2", "2001:db8::1")),
            status_code=random.choice((None, 200, 304, 399, 400, 404, 500, 599, 600)),
            response_bytes=random.choice((None, 0, 7, 10**12)),
            duration_ms=random.choice((None, 0.5, 12.25, 100.0, 3.0e4)),
            url_host="shop.example",
            url_path=random.choice((None, "/", "/checkout", "/checkout/pay", "/about")),
            referrer_host=random.choice((None, "search.example")),
            utm_source=random.choice((None, "letter")),
            traffic_channel=random.choice(("direct", "search", "campaign")),
            device_type=random.choice(("desktop", "mobile", "unknown")),
            value=random.choice((None, Decimal("19.9900"), Decimal("-5.0000"))),
            data_quality_score=random.choice((1.0, 0.95, 0.7, 0.35, 0.0, 1 / 3)),
            is_late=random.random() < 0.1,
        )


@dataclass(frozen=True)
class Built:
    """Marts as they were published, and the events that they were built from."""

    services: Services
    events: list[Event]
    run: Any

    def rows(self, table: LakeTable) -> list[dict[str, Any]]:
        return rows_of(self.services, table)

    def of_built_days(self) -> list[Event]:
        return [one for one in self.events if BUILT[0] <= one["event_date"] <= BUILT[1]]


@pytest.fixture(scope="module", params=["duckdb", "spark"])
def built(request: pytest.FixtureRequest, new_services: Callable[..., Services]) -> Built:
    """Build a range of days that begins and ends within weeks, from random events."""
    services = new_services(engine=request.param)
    events = random_events(seed=7)
    publish_silver(services, events)
    return Built(services, events, build_and_publish(services, *BUILT))


def test_every_dbt_test_of_the_project_ran_and_passed(built: Built) -> None:
    assert [one for one in built.run.tests if not one.passed] == []
    declared = {test.name for test in model_tests("web_events", MARTS.tables)}
    assert {one.name for one in built.run.tests} == declared


def test_daily_summary(built: Built) -> None:
    assert built.rows(DAILY_SUMMARY) == expected.daily_summary(built.of_built_days())


def test_quality_trend_has_exactly_the_runbooks_columns(built: Built) -> None:
    rows = built.rows(QUALITY_TREND)

    assert rows == expected.quality_trend(built.of_built_days())
    assert list(rows[0]) == ["event_date", "avg_quality", "bot_percentage", "total_events"]


def test_weeks_are_built_from_all_of_their_days(built: Built) -> None:
    of_weeks = [one for one in built.events if WEEKS[0] <= one["event_date"] <= WEEKS[1]]

    rows = built.rows(WEEKLY_PERFORMANCE_SUMMARY)

    assert rows == expected.weekly_performance_summary(of_weeks)
    assert [row["week_start_date"] for row in rows] == [date(2024, 12, 30), date(2025, 1, 6)]


def test_sessions(built: Built) -> None:
    assert built.rows(SESSIONS) == expected.sessions(built.of_built_days())


def test_some_session_is_open_at_midnight_and_some_is_not(built: Built) -> None:
    assert {row["is_open_at_midnight"] for row in built.rows(SESSIONS)} == {True, False}


def test_funnel(built: Built) -> None:
    wanted = expected.funnel(built.of_built_days(), STEPS, STEP_NAMES)

    assert built.rows(FUNNEL) == wanted
    assert max(row["sessions"] for row in wanted if row["step_number"] == 4) > 0


def test_traffic_by_source(built: Built) -> None:
    assert built.rows(TRAFFIC_BY_SOURCE) == expected.traffic_by_source(built.of_built_days())


def test_a_day_of_bots_alone_has_no_people(built: Built) -> None:
    of_day = [row for row in built.rows(DAILY_SUMMARY) if row["event_date"] == date(2025, 1, 3)]
    steps = [row for row in built.rows(FUNNEL) if row["event_date"] == date(2025, 1, 3)]

    assert [(row["human_events"], row["sessions"], row["bot_percentage"]) for row in of_day] == [
        (0, 0, 100)
    ]
    assert [(row["sessions"], row["conversion_percentage"]) for row in steps] == [(0, None)] * 4


def test_a_day_without_events_has_no_rows(built: Built) -> None:
    tables = [table for table in MARTS.tables if table.partition_by == "event_date"]

    days = {row["event_date"] for table in tables for row in built.rows(table)}

    assert days == {BUILT[0], date(2025, 1, 1), *(date(2025, 1, day) for day in (3, 4, 5, 6))}


@pytest.mark.parametrize("mart", MARTS.marts, ids=lambda mart: mart.name)
def test_a_mart_reads_only_the_files_that_it_needs(built: Built, mart: Any) -> None:
    (found,) = pruning_of(built.services, MARTS, mart, built.run, BUILT)

    assert found.is_pruned
    assert found.files_expected < found.files_present


def test_events_that_came_later_change_their_days_and_weeks_only(built: Built) -> None:
    before = built.rows(WEEKLY_PERFORMANCE_SUMMARY)
    day = date(2025, 1, 8)
    kept = [one for one in built.events if one["event_date"] == day]
    late = event(datetime(2025, 1, 8, 3, tzinfo=UTC), 1, session="late", is_late=True)

    publish_silver(built.services, [*kept, late])
    build_and_publish(built.services, day, day)

    after = built.rows(WEEKLY_PERFORMANCE_SUMMARY)
    assert after[0] == before[0]
    assert after[1]["total_events"] == before[1]["total_events"] + 1
