"""Dagster's storage on a pool: bounded, fork-safe, none the wiser for a restarted server."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.pooled_storage import (
    MAX_OVERFLOW,
    POOL_SIZE,
    PooledEventLogStorage,
    PooledPostgresStorage,
    PoolSettings,
    pooled_engine,
)
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from tests.assets.platform_runs import OCTOBER, Platform, deliver_sample, sample
from tests.assets.platform_runs import settings_at as platform_settings

RUN = "8c6d7c5e-6c1e-4b8e-9a53-5ac1b6a4f3c1"


def instance_on(url: str, **pool: int) -> dg.DagsterInstance:
    """Open an instance of a test on this database."""
    described = {
        "module": "pipeline_platform.orchestration.pooled_storage",
        "class": "PooledPostgresStorage",
        "config": {"postgres_url": url, **pool},
    }
    return dg.instance_for_test(overrides={"storage": {"custom": described}})


def session_count(url: str) -> int:
    """Return how many connections were ever opened to the database, this one included."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        query = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        return connection.execute(query).fetchone()[0]


@dg.asset(check_specs=[dg.AssetCheckSpec(f"check_{number}", asset="checked") for number in (1, 2)])
def checked() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """One asset with a check that passes and one that doesn't."""
    yield dg.AssetCheckResult(check_name="check_1", passed=True)
    yield dg.AssetCheckResult(check_name="check_2", passed=False, metadata={"rows": 3})
    yield dg.MaterializeResult(metadata={"rows": 7})


def execute(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.materialize([checked], instance=instance, run_config=quiet)


def types_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    entries = instance.all_logs(run_id)
    return [one.dagster_event.event_type_value for one in entries if one.is_dagster_event]


def check_states(instance: dg.DagsterInstance) -> dict[str, tuple[object, int]]:
    """Return the last state of each check and the number of its records."""
    states = {}
    for name in ("check_1", "check_2"):
        key = dg.AssetCheckKey(dg.AssetKey("checked"), name)
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        states[name] = (history[0].status, len(history))
    return states


def said(message: str) -> EventLogEntry:
    """Make an event of a step that is chatter."""
    data = StepOutputData(StepOutputHandle("step", "result"))
    event = DagsterEvent(DagsterEventType.STEP_OUTPUT.value, "job", event_specific_data=data)
    return EventLogEntry(
        error_info=None,
        level="debug",
        user_message=message,
        run_id=RUN,
        timestamp=time.time(),
        dagster_event=event,
    )


def test_a_run_of_the_pipeline_opens_few_connections(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    url, settings = new_database(), platform_settings(tmp_path / "home", new_database())
    with Services(settings) as services, instance_on(url) as instance:
        platform = Platform(services, instance, build_defs(settings, {"services": services}))
        deliver_sample(settings, sample(accounts=2, days=10))
        before = session_count(url)
        assert platform.ingest().success
        result = platform.process(OCTOBER, OCTOBER)
    assert result.get_asset_check_evaluations()
    assert session_count(url) - before <= POOL_SIZE + MAX_OVERFLOW


def test_connections_are_bounded_however_many_ask(database_url: str) -> None:
    # Counted on this side: the server still shows a connection for a moment after it was closed.
    lock, live, most = threading.Lock(), 0, 0

    def changed(by: int) -> None:
        nonlocal live, most
        with lock:
            live += by
            most = max(most, live)

    with instance_on(database_url, pool_size=1, max_overflow=2) as instance:
        engine = pooled_engine(PoolSettings(database_url, 1, 2))
        engine.dispose()
        sqlalchemy.event.listen(engine, "connect", lambda *_: changed(1))
        sqlalchemy.event.listen(engine, "close", lambda *_: changed(-1))
        threads = [
            threading.Thread(target=lambda: [instance.get_runs(limit=1) for _ in range(40)])
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= most <= 3


def test_the_three_storages_share_a_pool(database_url: str) -> None:
    storage = PooledPostgresStorage(database_url)
    engines = {
        id(one._engine)
        for one in (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    }
    assert len(engines) == 1


def test_a_restarted_server_is_noticed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", environment="test")
    url = embedded.start(settings, is_durable=False)
    try:
        with instance_on(url) as instance:
            first = execute(instance)
            embedded.stop(settings)
            assert embedded.start(settings, is_durable=False) == url
            second = execute(instance)
            assert first.success
            assert "ASSET_MATERIALIZATION" in types_of(instance, second.run_id)
    finally:
        embedded.stop(settings)


def test_a_fork_has_connections_of_its_own(database_url: str) -> None:
    with instance_on(database_url) as instance:
        execute(instance)
        child = os.fork()
        if child == 0:
            os._exit(0 if execute(instance).success else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert execute(instance).success
        assert len(instance.get_runs()) == 3


def test_checks_read_the_same_held_back_or_not(database_url: str) -> None:
    with instance_on(database_url) as instance:
        plain = types_of(instance, execute(instance).run_id)
        instance.event_log_storage.hold_back_chatter()
        held = types_of(instance, execute(instance).run_id)
        assert held == plain
        assert check_states(instance) == {
            "check_1": (AssetCheckExecutionRecordStatus.SUCCEEDED, 2),
            "check_2": (AssetCheckExecutionRecordStatus.FAILED, 2),
        }


def test_announcements_are_one_batch_with_the_same_content(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_on(database_url) as instance:
        plain = types_of(instance, execute(instance).run_id)
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
        batched = types_of(instance, execute(instance).run_id)
        assert sorted(batched) == sorted(plain)
        assert check_states(instance)["check_1"] == (AssetCheckExecutionRecordStatus.SUCCEEDED, 2)


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition("2026-01-01"),
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("check_1", asset="by_day")],
)
def by_day() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """One asset by day, with a check that has no partitions."""
    yield dg.AssetCheckResult(check_name="check_1", passed=True)
    yield dg.MaterializeResult()


@pytest.mark.parametrize("are_single", [False, True])
def test_no_check_of_a_run_over_days_stays_announced(
    database_url: str, are_single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster announces the check for each day, and evaluates it once."""
    if are_single:
        monkeypatch.setenv("DAGSTER_EMIT_PLANNED_EVENTS_INDIVIDUALLY", "1")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with instance_on(database_url) as instance:
        tags = range_tags(date(2026, 1, 1), date(2026, 1, 3))
        dg.materialize([by_day], instance=instance, tags=tags, run_config=quiet)
        key = dg.AssetCheckKey(dg.AssetKey("by_day"), "check_1")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert [one.status for one in history] == [AssetCheckExecutionRecordStatus.SUCCEEDED]


def test_what_is_held_back_appears_within_a_second_by_itself(database_url: str) -> None:
    storage = PooledEventLogStorage(database_url)
    storage.hold_back_chatter()
    storage.store_event(said("one"))
    assert storage.get_logs_for_run(RUN) == []
    time.sleep(1.5)
    assert [one.user_message for one in storage.get_logs_for_run(RUN)] == ["one"]


def test_what_is_held_back_is_written_before_anything_later(database_url: str) -> None:
    storage = PooledEventLogStorage(database_url)
    storage.hold_back_chatter()
    storage.store_event(said("first"))
    log = said("second")._replace(dagster_event=None)
    storage.store_event(log)
    assert [one.user_message for one in storage.get_logs_for_run(RUN)] == ["first", "second"]


def test_nothing_held_back_is_lost_at_the_end(database_url: str) -> None:
    storage = PooledEventLogStorage(database_url)
    storage.hold_back_chatter()
    storage.store_event(said("last"))
    storage.dispose()
    assert len(storage.get_logs_for_run(RUN)) == 1


def test_the_interface_gets_its_statement_timeout(database_url: str) -> None:
    storage = PooledPostgresStorage(database_url)
    storage.run_storage.optimize_for_webserver(1234, pool_recycle=60, max_overflow=5)
    with storage.run_storage.connect() as connection:
        found = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
    assert found == "1234ms"


def test_the_interface_sees_events_while_they_are_written(database_url: str) -> None:
    with instance_on(database_url) as instance:
        seen = []
        run_id = dg.DagsterRun("job", run_id=RUN).run_id
        instance.watch_event_logs(run_id, None, lambda entry, _: seen.append(entry))
        instance.event_log_storage.store_event(said("watched"))
        until = time.monotonic() + 10
        while not seen and time.monotonic() < until:
            time.sleep(0.05)
        assert [one.user_message for one in seen] == ["watched"]


def test_dagster_migrates_it_as_its_own(database_url: str) -> None:
    with instance_on(database_url) as instance:
        instance.upgrade()
        instance.reindex()
        found, newest = instance.run_storage.alembic_version()
        assert found == newest
