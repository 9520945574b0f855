"""The marts' queries, as dbt compiles them, give what plain Python computes for any events."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline_platform.orchestration.mart_builds import build_marts
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import MARTS, week_start
from pipeline_platform.web_events.tables import WEB_EVENTS
from tests.examples import examples
from tests.integration.web_events import expected
from tests.integration.web_events.conftest import VARIABLES
from tests.integration.web_events.silver_events import Event, event, noon
from tests.integration.web_events.test_marts import STEP_NAMES, STEPS

FIRST, LAST = date(2020, 12, 21), date(2021, 1, 17)
"""Whole weeks, among them week 53 of 2020."""

MANY = examples(10, suppress_health_check=list(HealthCheck))
Run = Callable[[str, list[Event]], list[dict[str, Any]]]

DAYS = st.integers(0, (LAST - FIRST).days).map(lambda number: FIRST + timedelta(days=number))
SCORES = st.integers(0, 1_000_000).map(lambda number: number / 1_000_000)


@pytest.fixture(scope="module")
def run(new_services: Callable[..., Services]) -> Run:
    """Run a mart's compiled query over events; sessions are there for those that read them."""
    queries = build_marts(new_services(), MARTS, (FIRST, LAST), VARIABLES, "compile").queries

    def rows(mart: str, events: list[Event]) -> list[dict[str, Any]]:
        given = [{name: one.get(name) for name in WEB_EVENTS.schema.names} for one in events]
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'; CREATE SCHEMA web_events_silver")
            con.register("given", pa.Table.from_pylist(given, schema=WEB_EVENTS.schema))
            con.execute("CREATE TABLE web_events_silver.web_events AS FROM given")
            con.execute(f"CREATE TABLE sessions AS {queries['sessions']}")
            return con.sql(queries[mart]).order("ALL").to_arrow_table().to_pylist()

    return rows


@MANY
@given(st.lists(st.tuples(DAYS, SCORES, st.booleans(), st.sampled_from([None, 200, 404]))))
def test_shares_and_means_of_days_and_weeks(run: Run, drawn: list[tuple[Any, ...]]) -> None:
    events = [
        event(
            noon(day),
            1,
            session=f"s{number}",
            is_bot=bot,
            data_quality_score=score,
            status_code=status,
        )
        for number, (day, score, bot, status) in enumerate(drawn)
    ]

    assert run("daily_summary", events) == expected.daily_summary(events)
    assert run("quality_trend", events) == expected.quality_trend(events)
    assert run("weekly_performance_summary", events) == expected.weekly_performance_summary(events)


@MANY
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("pacbx"), st.booleans()), max_size=40))
def test_a_funnel_takes_steps_in_order_only(run: Run, drawn: list[tuple[int, str, bool]]) -> None:
    types = {"p": "page_view", "c": "page_view", "a": "add_to_cart", "b": "purchase", "x": "click"}
    events = [
        event(
            noon(FIRST, place),
            place,
            session=f"s{number}",
            visitor=f"v{number}",
            event_type=types[kind],
            url_path="/checkout" if kind == "c" else "/",
            is_bot=bot,
        )
        for place, (number, kind, bot) in enumerate(drawn, start=1)
    ]

    assert run("funnel", events) == expected.funnel(events, STEPS, STEP_NAMES)


@MANY
@given(
    st.lists(
        st.tuples(DAYS, st.integers(0, 3), st.integers(0, 86_399_999_999), st.booleans()),
        unique_by=lambda one: one[:3],
    )
)
def test_sessions_and_their_sources(run: Run, drawn: list[tuple[date, int, int, bool]]) -> None:
    places: dict[tuple[date, int], int] = {}
    events = []
    for day, number, microseconds, bot in sorted(drawn):
        places[day, number] = place = places.get((day, number), 0) + 1
        at = noon(day) - timedelta(hours=12) + timedelta(microseconds=microseconds)
        events.append(event(at, place, session=f"s{number}", visitor=f"v{number}", is_bot=bot))

    assert run("sessions", events) == expected.sessions(events)
    assert run("traffic_by_source", events) == expected.traffic_by_source(events)


@given(st.dates(date(1990, 1, 1), date(2262, 1, 1)))
def test_a_weeks_first_day_is_the_monday_of_its_iso_week(day: date) -> None:
    monday = week_start(day)

    assert monday.isoweekday() == 1
    assert monday.isocalendar()[:2] == day.isocalendar()[:2]
