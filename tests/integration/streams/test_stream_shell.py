"""The job and the sensor of a stream, and the ingester's health as measurements."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from pipeline_platform.orchestration.streams import stream_job, stream_sensor
from pipeline_platform.quality.measures import Scope, stream_health
from pipeline_platform.runbook import Sensor, StreamReading
from pipeline_platform.streams.reads import record_read
from tests.assets.platform_runs import QUIET
from tests.integration.streams.conftest import STREAM
from tests.integration.streams.sample_intake import CLICKS, clicks_intake
from tests.integration.streams.test_stream_batches import ids, put_events

READING = StreamReading(
    start="TRIM_HORIZON", max_records=5, max_bytes=1_000_000, max_seconds=5, max_batches=100
)
RUNBOOK = SimpleNamespace(
    pipeline="clicks",
    sensors={
        "stream": Sensor(title="Read.", interval_seconds=60, environments={"test": "running"})
    },
)
JOB = stream_job(
    CLICKS,
    clicks_intake,
    lambda settings: settings.events_stream,
    READING,
)


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"events_stream": STREAM})


@pytest.fixture
def instance():
    with dg.instance_for_test() as opened:
        yield opened


def run_job(services, instance):
    return JOB.execute_in_process(
        instance=instance, resources={"services": services}, run_config=QUIET
    )


def evaluate(services, instance):
    sensor = stream_sensor(RUNBOOK, JOB, lambda settings: settings.events_stream, "test")
    context = dg.build_sensor_context(instance=instance, resources={"services": services})
    return sensor(context)


def test_a_run_reads_until_the_stream_is_caught_up(kinesis, services, instance):
    put_events(kinesis, range(12))
    assert run_job(services, instance).success
    assert ids(services) == list(range(12))


def test_a_run_that_published_materializes_bronze(kinesis, services, instance):
    put_events(kinesis, range(12))
    run_job(services, instance)
    event = instance.get_latest_materialization_event(dg.AssetKey(list(CLICKS.asset_key)))
    metadata = event.asset_materialization.metadata
    assert (metadata["records"].value, metadata["partitions"].value) == (
        12,
        ["2026-10-01", "2026-10-02", "2026-10-03"],
    )


def test_without_a_stream_a_run_does_nothing(kinesis, services, instance):
    put_events(kinesis, range(3))
    services.settings = services.settings.model_copy(update={"events_stream": None})
    assert run_job(services, instance).success
    assert ids(services) == []


def test_the_sensor_asks_for_a_run(services, instance):
    assert evaluate(services, instance).tags == {"stream": STREAM}


def test_the_sensor_skips_while_no_stream_is_configured(services, instance):
    services.settings = services.settings.model_copy(update={"events_stream": None})
    assert evaluate(services, instance).skip_message == "No stream is configured."


def test_the_sensor_skips_while_the_stream_is_read(services, instance):
    instance.create_run_for_job(JOB, status=dg.DagsterRunStatus.STARTED)
    assert evaluate(services, instance).skip_message == "The stream clicks is being read."


NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def measured(services):
    run = SimpleNamespace(services=services, runbook=RUNBOOK, now=lambda: NOW)
    return lambda stream=STREAM: stream_health(Scope(run, ()), stream)


def remember(services, minutes_ago, outcome, behind=None):
    with services.database.transaction() as connection:
        record_read(
            connection,
            "clicks",
            STREAM,
            outcome,
            run_id="run",
            now=NOW - timedelta(minutes=minutes_ago),
            millis_behind_latest=behind,
        )


def test_silence_and_age_are_those_of_the_last_answer(services, measured):
    remember(services, 50, "PUBLISHED", 600_000)
    remember(services, 20, "EMPTY", 120_000)
    remember(services, 10, "FAILED")
    found = measured()
    assert (found["stream_silence"].value, found["stream_iterator_age"].value) == (20, 2)


def test_the_error_rate_is_that_of_the_last_hour(services, measured):
    remember(services, 90, "FAILED")
    remember(services, 50, "PUBLISHED", 0)
    remember(services, 10, "FAILED")
    rate = measured()["stream_error_rate"]
    assert (rate.value, rate.sample_size) == (50, 2)


def test_a_stream_never_read_is_not_measurable(measured):
    reasons = {one.not_measurable_reason for one in measured().values()}
    assert reasons == {"the stream clicks was never read", "there is nothing to compare"}


def test_without_a_stream_nothing_is_measurable(measured):
    reasons = {one.not_measurable_reason for one in measured(None).values()}
    assert reasons == {"no stream is configured"}


def test_old_attempts_are_forgotten(services):
    remember(services, 31 * 24 * 60, "EMPTY", 0)
    remember(services, 0, "EMPTY", 0)
    with services.database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM stream_reads").fetchone() == (1,)
