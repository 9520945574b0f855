"""dbt's own tests judge damaged copies of marts; what was published stays as it is (B-15)."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest

from pipeline_platform.orchestration.mart_tests import dbt_tests_of, score_tables
from pipeline_platform.quality.mutation_scores import Mutated, TableScore, contracts_of, run_of
from pipeline_platform.quality.mutations import KINDS
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE
from tests.integration.web_events.conftest import build_and_publish
from tests.integration.web_events.silver_events import Event, event, noon, publish_silver

MONDAY = date(2025, 1, 6)
SCORED = ("gold/sessions", "gold/weekly_performance_summary")


def sessions(count: int) -> Iterator[Event]:
    """Make sessions of three events on two days of a week."""
    for number in range(count):
        for place in range(1, 4):
            at = noon(MONDAY + timedelta(days=number % 2), 10 * number + place)
            yield event(
                at,
                place,
                session=f"s{number}",
                visitor=f"v{number % 7}",
                device_type="mobile" if number % 3 else "desktop",
                url_path=f"/{place}",
            )


@pytest.fixture(scope="module")
def services(new_services: Callable[..., Services]) -> Services:
    """Marts of a Monday, with the runbook's own funnel."""
    services = new_services()
    publish_silver(services, sessions(50))
    build_and_publish(services, MONDAY, MONDAY, variables=dict(MARTS.variables()))
    return services


@pytest.fixture(scope="module")
def scores(services: Services) -> dict[str, TableScore]:
    marts = [one for one in contracts_of(services, PIPELINE) if one.table in SCORED]
    before = services.lake.table_sizes()
    found = score_tables(run_of(services, load_runbook(), "mutations"), marts, MONDAY)
    assert services.lake.table_sizes() == before
    return {one.table: one for one in found}


def outcome(score: TableScore, kind: str, *columns: str) -> Mutated:
    (found,) = [one for one in score.mutations if (one.kind, one.columns) == (kind, columns)]
    return found


def test_every_mart_is_judged_by_dbt_tests(services) -> None:
    found = dbt_tests_of(run_of(services, load_runbook(), "mutations"), MARTS)
    assert set(found) == {"/".join(one.asset_key) for one in MARTS.tables}
    assert [asset for asset, tests in found.items() if not tests(MONDAY).queries] == []


def test_no_test_is_blind_on_what_dbt_built(scores) -> None:
    assert {one.table: one.blind for one in scores.values() if one.blind} == {}


@pytest.mark.parametrize(
    ("table", "kind", "columns", "test"),
    [
        ("sessions", "null_in_required", ("visitor_id",), "visitor_id_is_given"),
        ("sessions", "out_of_range", ("event_count",), "sessions_hold_every_event"),
        ("sessions", "wrong_sign", ("duration_ms",), "sessions_are_within_their_day"),
        ("sessions", "unit_times_100", ("event_count",), "sessions_hold_every_event"),
        ("sessions", "unknown_value", ("device_type",), "sessions_have_a_known_device"),
        ("sessions", "other_time_zone", ("ended_at",), "sessions_are_within_their_day"),
        ("sessions", "shifted_day", ("event_date",), "sessions_hold_every_event"),
        ("sessions", "dropped_rows", (), "sessions_hold_every_event"),
        ("sessions", "truncated", (), "sessions_hold_every_event"),
        ("sessions", "duplicated_rows", (), "unique_sessions_session_id"),
        (
            "weekly_performance_summary",
            "shifted_day",
            ("week_start_date",),
            "weeks_count_every_event",
        ),
    ],
)
def test_a_mutation_of_a_mart_is_caught_by_the_test_that_is_meant_for_it(
    scores, table, kind, columns, test
) -> None:
    assert test in outcome(scores[f"gold/{table}"], kind, *columns).caught_by


def test_what_no_test_looks_at_survives(scores) -> None:
    sessions = scores["gold/sessions"]
    assert outcome(sessions, "swapped_columns", "entry_host", "entry_path").outcome == "survived"


def test_every_kind_is_told_of_every_mart(scores) -> None:
    for score in scores.values():
        assert {one.kind for one in score.mutations} == set(KINDS)


def test_a_week_is_judged_by_all_of_its_days(scores) -> None:
    weeks = scores["gold/weekly_performance_summary"]
    assert (weeks.partition, weeks.copied_rows) == (MONDAY, 1)
