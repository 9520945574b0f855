"""The marts as one asset: selected, checked, published together or not at all."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import dagster as dg
import pytest

from pipeline_platform.failures import AuditFailedError, StoppedError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration import failures, mart_builds
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.mart_builds import build_pieces
from pipeline_platform.orchestration.marts import PRUNING_CHECK
from pipeline_platform.orchestration.metadata import asset_key
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import stops
from pipeline_platform.warehouse.lake_queries import queries
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.web_events.assets import marts
from pipeline_platform.web_events.marts import (
    DAILY_SUMMARY,
    MARTS,
    SESSIONS,
    TRAFFIC_BY_SOURCE,
    WEEKLY_PERFORMANCE_SUMMARY,
)
from pipeline_platform.web_events.tables import PIPELINE, WEB_EVENTS
from tests.integration.web_events.conftest import VARIABLES, rows_of
from tests.integration.web_events.silver_events import event, noon, publish_silver

DAY = date(2025, 1, 1)
DAYS = [DAY + timedelta(days=number) for number in range(3)]
"""Wednesday to Friday of one week."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def materialize(
    services: Services,
    instance: dg.DagsterInstance,
    first: date = DAY,
    last: date = DAY,
    selection: list[dg.AssetKey] | dg.AssetSelection | None = None,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [marts],
        instance=instance,
        resources={"services": services},
        tags=range_tags(first, last),
        selection=selection,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def passed(result: dg.ExecuteInProcessResult) -> Mapping[tuple[str, str], bool]:
    return {
        (one.asset_key.path[-1], one.check_name): one.passed
        for one in result.get_asset_check_evaluations()
    }


def empty(services: Services, table: LakeTable) -> None:
    staged = services.lake.stage(
        table, table.schema.empty_table(), run_id="empty", partition="all of it"
    )
    services.lake.publish(staged, replace="true", properties={})


def build_at_most(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Let a piece have at most so many rows, as a small memory limit does."""
    monkeypatch.setattr(mart_builds, "rows_within", lambda *_: rows)


def test_all_marts_of_a_range_are_built_checked_and_published(
    services: Services, instance: dg.DagsterInstance
) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    publish_silver(services, [event(noon(day), 1) for day in days])

    result = materialize(services, instance, *days)

    assert result.success
    checks = passed(result)
    assert all(checks.values())
    assert {mart for mart, name in checks if name == PRUNING_CHECK} == {
        table.name for table in MARTS.tables
    }
    assert [row["event_date"] for row in rows_of(services, DAILY_SUMMARY)] == days


def test_what_dbt_asked_of_the_lake_is_in_the_log_of_queries(
    services: Services, instance: dg.DagsterInstance
) -> None:
    """SW-23."""
    publish_silver(services, [event(noon(DAY), number) for number in (1, 2)])

    materialize(services, instance)

    with services.database.connection() as connection:
        found = queries(connection, since=utc_now() - timedelta(minutes=10), pipeline=PIPELINE)
    assert {one.name for one in found} == {f"dbt {table.name}" for table in MARTS.tables}
    (query,) = [one for one in found if one.name == f"dbt {SESSIONS.name}"]
    (read,) = query.scanned
    assert (read.table, read.rows) == ("web_events/silver/web_events", 2)
    assert read.snapshot_id == services.lake.last_publication(WEB_EVENTS).snapshot_id
    assert (query.seconds > 0, query.error) == (True, None)


def test_a_model_that_dbt_could_not_build_says_why_in_the_log_of_queries(
    services: Services,
) -> None:
    """SW-23."""
    publish_silver(services, [event(noon(DAY), 1)])

    wrong = {**VARIABLES, "session_minutes": "no_column"}
    with pytest.raises(AuditFailedError):
        list(build_pieces(services, MARTS, [DAY], wrong, "run"))

    with services.database.connection() as connection:
        found = queries(connection, since=utc_now() - timedelta(minutes=10), pipeline=PIPELINE)
    assert [one.name for one in found if "no_column" in (one.error or "")] != []


def test_a_range_built_in_pieces_equals_one_built_in_one_go(
    services: Services, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_silver(
        services,
        [
            event(noon(day), number, session=visitor, visitor=visitor)
            for day in DAYS
            for visitor in ("ann", "bob")
            for number in (1, 2)
        ],
    )
    materialize(services, instance, DAYS[0], DAYS[-1])
    at_once = [rows_of(services, table) for table in MARTS.tables]

    for table in MARTS.tables:
        empty(services, table)
    build_at_most(monkeypatch, 8)
    result = materialize(services, instance, DAYS[0], DAYS[-1])

    assert all(passed(result).values())
    assert [rows_of(services, table) for table in MARTS.tables] == at_once
    recorded = instance.get_latest_materialization_event(asset_key(WEEKLY_PERFORMANCE_SUMMARY))
    assert recorded.asset_materialization.metadata["dagster/row_count"].value == 1


def test_a_test_that_fails_in_a_later_piece_stops_it_and_those_after(
    services: Services, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = ("desktop", "toaster", "desktop")
    publish_silver(
        services,
        [event(noon(day), 1, device_type=one) for day, one in zip(DAYS, devices, strict=True)],
    )
    build_at_most(monkeypatch, 1)

    result = materialize(services, instance, DAYS[0], DAYS[-1])

    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    (failed,) = [one for one in result.all_events if one.is_step_failure]
    found = checks["sessions_have_a_known_device"]
    assert (found.passed, found.metadata["failing_rows"].value) == (False, 1)
    assert str(found.metadata["message"].value).startswith("2025-01-02_2025-01-02: ")
    assert failed.step_failure_data.user_failure_data.description.endswith(
        "no model of 2025-01-02_2025-01-02 was published. "
        "The marts of 2025-01-01_2025-01-01 were published before."
    )
    assert [row["event_date"] for row in rows_of(services, DAILY_SUMMARY)] == DAYS[:1]


def test_a_stopped_pipeline_ends_between_two_pieces(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_silver(services, [event(noon(day), 1) for day in DAYS])
    build_at_most(monkeypatch, 1)

    pieces = build_pieces(services, MARTS, DAYS, VARIABLES, "stopped")
    next(pieces)
    with services.database.transaction() as connection:
        stops.stop(connection, "*", by="me", reason=None, now=noon(DAY))

    with pytest.raises(StoppedError):
        next(pieces)
    assert [row["event_date"] for row in rows_of(services, DAILY_SUMMARY)] == DAYS[:1]


def test_a_selected_mart_is_built_alone(services: Services, instance: dg.DagsterInstance) -> None:
    publish_silver(services, [event(noon(DAY), 1)])

    result = materialize(services, instance, selection=[asset_key(DAILY_SUMMARY)])

    assert result.success
    assert {mart for mart, _ in passed(result)} == {"daily_summary"}
    assert len(rows_of(services, DAILY_SUMMARY)) == 1
    assert not services.lake.exists(SESSIONS)


def test_a_selected_mart_is_built_with_what_it_is_made_from(
    services: Services, instance: dg.DagsterInstance
) -> None:
    publish_silver(services, [event(noon(DAY), 1)])

    result = materialize(services, instance, selection=[asset_key(TRAFFIC_BY_SOURCE)])

    assert result.success
    recorded = instance.get_materialized_partitions(asset_key(SESSIONS))
    assert (len(rows_of(services, TRAFFIC_BY_SOURCE)), recorded) == (1, {str(DAY)})


def test_checks_of_marts_alone_say_that_a_build_runs_them(
    services: Services, instance: dg.DagsterInstance
) -> None:
    key = dg.AssetCheckKey(asset_key(DAILY_SUMMARY), PRUNING_CHECK)

    result = materialize(services, instance, selection=dg.AssetSelection.checks(key))

    (failed,) = [one for one in result.all_events if one.is_step_failure]
    assert "materialize them instead" in failed.step_failure_data.user_failure_data.description


def test_days_without_events_empty_the_marts(
    services: Services, instance: dg.DagsterInstance
) -> None:
    publish_silver(services, [event(noon(DAY), 1)])
    materialize(services, instance)
    publish_silver(services, [], days=[DAY])

    result = materialize(services, instance)

    assert result.success
    assert all(passed(result).values())
    assert [rows_of(services, table) for table in MARTS.tables] == [[]] * len(MARTS.tables)


def test_a_failed_test_publishes_no_mart(services: Services, instance: dg.DagsterInstance) -> None:
    same_id = {"session_id": "one id on two days"}
    publish_silver(services, [event(noon(DAY + timedelta(days=n)), 1, **same_id) for n in range(2)])

    result = materialize(services, instance, DAY, DAY + timedelta(days=1))

    assert not result.success
    assert not passed(result)["sessions", "unique_sessions_session_id"]
    assert not any(services.lake.exists(table) for table in MARTS.tables)


def test_an_event_without_a_known_device_fails_its_test(
    services: Services, instance: dg.DagsterInstance
) -> None:
    publish_silver(services, [event(noon(DAY), 1, device_type="toaster")])

    assert not passed(materialize(services, instance))["sessions", "sessions_have_a_known_device"]


def test_a_session_that_loses_an_event_fails_conservation(
    services: Services, instance: dg.DagsterInstance
) -> None:
    twice_first = [event(noon(DAY), 1), event(noon(DAY, 1), 1, event_id="other")]
    publish_silver(services, twice_first)

    assert not passed(materialize(services, instance))["sessions", "sessions_hold_every_event"]


def test_a_model_without_a_filter_fails_the_pruning_check(
    services: Services, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_silver(services, [event(noon(DAY), 1)])
    build_models = mart_builds.build_models

    def without_filter(*arguments, **options):
        build = build_models(*arguments, **options)
        query = build.queries["daily_summary"]
        start, end = query.index("where event_date"), query.index("group by")
        build.queries["daily_summary"] = query[:start] + query[end:]
        return build

    monkeypatch.setattr(mart_builds, "build_models", without_filter)
    result = materialize(services, instance)

    checks = {mart: fine for (mart, name), fine in passed(result).items() if name == PRUNING_CHECK}
    assert [mart for mart, fine in checks.items() if not fine] == ["daily_summary"]


def test_a_build_waits_for_another_one_of_the_same_pipeline(
    services: Services, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_silver(services, [event(noon(DAY), 1)])
    monkeypatch.setattr(mart_builds, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(failures, "FIRST_WAIT_SECONDS", 0)

    with named_lock(services.database, "marts of web_events"):
        result = materialize(services, instance)

    assert not result.success
    assert not services.lake.exists(WEEKLY_PERFORMANCE_SUMMARY)
