"""Stop and resume: nothing starts, what runs ends between two commits, and all of it goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from pipeline_platform.advisory_performance.assets import MONTHLY_KEYS
from pipeline_platform.advisory_performance.automation import WORKFLOW
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.failures import StoppedError
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.orchestration.automation import sensor_from_runbook
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.services import Services
from pipeline_platform.warehouse import stops
from pipeline_platform.warehouse.run_records import STOPPED
from pipeline_platform.warehouse.stops import EVERYTHING
from tests.assets.content import database_content, differences, lake_content
from tests.assets.platform_runs import Platform, deliver_sample, running, sample, settings_at

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
OTHER = "web_events"
SAMPLE = sample(accounts=1, days=20)
WITHOUT_MARTS = [
    key for key in MONTHLY_KEYS if key not in {dg.AssetKey(one.asset_key) for one in MARTS.tables}
]
STOP_AFTER_SILVER = """
    CREATE FUNCTION stop_it() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE pipelines SET enabled = false WHERE pipeline_id = NEW.pipeline;
        RETURN NEW;
    END $$;
    CREATE TRIGGER stop_it AFTER INSERT ON partition_progress
        FOR EACH ROW WHEN (NEW.layer = 'silver') EXECUTE FUNCTION stop_it();
"""
"""What an operator's UPDATE does, at the very instant at which the first piece was committed."""


def stop(services: Services, scope: str = PIPELINE, **given: object) -> bool:
    with services.database.transaction() as connection:
        wanted = {"by": "somebody", "reason": "vendor is wrong", "now": NOW, **given}
        return stops.stop(connection, scope, **wanted)


def resume(services: Services, scope: str = PIPELINE) -> bool:
    with services.database.transaction() as connection:
        return stops.resume(connection, scope, by="somebody", reason=None, now=NOW)


def is_stopped(services: Services, pipeline: str = PIPELINE) -> bool:
    with services.database.connection() as connection:
        return stops.stop_of(connection, pipeline) is not None


@pytest.fixture
def services(settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


def test_a_stopped_pipeline_leaves_the_other_ones_alone(services) -> None:
    stop(services)
    assert (is_stopped(services), is_stopped(services, OTHER)) == (True, False)


def test_a_stop_of_everything_stops_each(services) -> None:
    stop(services, EVERYTHING)
    assert is_stopped(services)
    assert is_stopped(services, OTHER)


def test_resuming_everything_leaves_stopped_what_was_stopped_alone(services) -> None:
    stop(services)
    stop(services, EVERYTHING)
    resume(services, EVERYTHING)
    assert (is_stopped(services), is_stopped(services, OTHER)) == (True, False)


def test_a_second_stop_keeps_the_first_reason(services) -> None:
    stop(services)
    assert not stop(services, reason="another")
    with services.database.connection() as connection:
        assert stops.stop_of(connection, PIPELINE).reason == "vendor is wrong"


def test_resuming_what_runs_changes_nothing(services) -> None:
    assert not resume(services)
    assert not resume(services, EVERYTHING)


def test_a_stop_survives_a_restart(services, settings) -> None:
    stop(services)
    services.close()
    with Services(settings) as restarted:
        assert is_stopped(restarted)


def test_the_sentence_says_who_why_and_what_to_do(services) -> None:
    stop(services)
    with pytest.raises(StoppedError) as raised:
        stops.require_running(services.database, PIPELINE)
    assert str(raised.value) == (
        "advisory_performance is stopped since 2026-03-04 12:00 UTC by somebody: vendor is wrong. "
        "`pipeline-platform pipelines resume advisory_performance` lets it go on."
    )


def test_alerts_go_on_while_everything_is_stopped(services) -> None:
    """Their sensor has no job: it does its work itself."""

    @sensor_from_runbook(operations_plan(), "alerts", None, "test")
    def alerts(context: dg.SensorEvaluationContext, services: Services) -> dg.SkipReason:
        return dg.SkipReason("Somebody was told.")

    stop(services, EVERYTHING)
    context = dg.build_sensor_context(resources={"services": services})
    assert alerts.evaluate_tick(context).skip_message == "Somebody was told."


@pytest.fixture(scope="module")
def loaded(new_database, tmp_path_factory) -> Iterator[Platform]:
    """A platform whose files are in bronze and whose pipeline is stopped by its first commit."""
    settings = settings_at(tmp_path_factory.mktemp("stopping"), new_database())
    deliver_sample(settings, SAMPLE)
    with running(settings) as platform:
        assert platform.ingest().success
        yield platform


def process(platform: Platform, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Run what the sensor requests, without the marts: they take dbt's time and prove no more."""
    return platform.run(WORKFLOW, tags=request.tags, asset_selection=WITHOUT_MARTS)


@pytest.fixture(scope="module")
def request_made(loaded: Platform) -> dg.RunRequest:
    (made,) = loaded.tick("months").run_requests
    return made


@pytest.fixture(scope="module")
def stopped_run(loaded: Platform, request_made: dg.RunRequest) -> dg.ExecuteInProcessResult:
    with loaded.services.database.transaction() as connection:
        stops.register_pipelines(connection, [PIPELINE])
        connection.execute(STOP_AFTER_SILVER)
    result = process(loaded, request_made)
    with loaded.services.database.transaction() as connection:
        connection.execute("DROP TRIGGER stop_it ON partition_progress")
    return result


def test_a_run_in_work_ends_after_its_commit(loaded, stopped_run) -> None:
    lake = loaded.services.lake
    assert not stopped_run.success
    assert lake.partitions(VALUATIONS)
    assert not lake.partitions(TIME_WEIGHTED_RETURNS)


def test_it_says_why_it_ended(loaded, stopped_run) -> None:
    graph = loaded.definitions.resolve_asset_graph()
    recorder = RunRecorder(graph, list(loaded.definitions.resolve_all_job_defs()), loaded.instance)
    told = recorder.detail(PIPELINE, stopped_run.run_id)
    errors = told.errors
    assert told.status == STOPPED
    assert {one.failure_class for one in errors} == {"StoppedError"}
    assert "pipelines resume" in errors[0].message


def test_it_is_marked_as_stopped(loaded, stopped_run) -> None:
    assert STOPPED_TAG in loaded.instance.get_run_by_id(stopped_run.run_id).tags


@pytest.mark.parametrize("sensor", ["arrivals", "months"])
def test_no_sensor_starts_anything(loaded, stopped_run, sensor: str) -> None:
    tick = loaded.tick(sensor)
    assert tick.run_requests == []
    assert "is stopped since" in tick.skip_message


def test_no_schedule_starts_anything(loaded, stopped_run) -> None:
    schedules = [one for one in loaded.definitions.schedules if one.name.startswith(PIPELINE)]
    context = dg.build_schedule_context(
        instance=loaded.instance,
        resources={"services": loaded.services},
        scheduled_execution_time=NOW,
    )
    ticks = [one.evaluate_tick(context) for one in schedules]
    assert ticks
    assert [tick.run_requests for tick in ticks] == [[]] * len(ticks)


def test_no_file_is_taken(loaded, stopped_run) -> None:
    assert not loaded.ingest().success


@pytest.fixture(scope="module")
def resumed_request(loaded, stopped_run) -> dg.RunRequest:
    """What the sensor requests at its first tick after the stop: a stop is no failed attempt."""
    resume(loaded.services)
    (made,) = loaded.tick("months").run_requests
    return made


def test_after_resuming_the_request_is_made_anew_at_once(request_made, resumed_request) -> None:
    assert resumed_request.tags == request_made.tags
    assert resumed_request.run_key != request_made.run_key


def test_it_ends_as_if_nothing_had_happened(
    loaded, resumed_request, new_database, tmp_path_factory
) -> None:
    assert process(loaded, resumed_request).success
    other = settings_at(tmp_path_factory.mktemp("undisturbed"), new_database())
    deliver_sample(other, SAMPLE)
    with running(other) as undisturbed:
        undisturbed.ingest()
        (request,) = undisturbed.tick("months").run_requests
        assert process(undisturbed, request).success
        found, expected = (
            {**lake_content(one.services, without_instants=True), **database_content(one.services)}
            for one in (loaded, undisturbed)
        )
    assert differences(found, expected) == {}
