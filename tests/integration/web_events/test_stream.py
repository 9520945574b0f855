"""A Kinesis stream of events through this pipeline's own parsing, to bronze, and undone (B-5)."""

import json
from datetime import UTC, datetime

import pytest

from pipeline_platform.failures import PermanentError
from pipeline_platform.ingestion.replay import read_again
from pipeline_platform.ingestion.stream_batches import consume
from pipeline_platform.quality.conservation import imbalances
from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.services import Services
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.web_events import undone
from tests.unit.streams.packing import packed

STREAM, SHARD = "web-events", "shardId-000000000000"


@pytest.fixture
def kinesis(monkeypatch):
    for name, value in MADE_UP_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with LocalKinesis(STREAM) as server:
        yield server


@pytest.fixture
def services(settings, kinesis):
    with Services(settings.model_copy(update={"kinesis_endpoint": kinesis.address})) as opened:
        yield opened


def event(number, at="2026-10-01T12:00:00Z"):
    return json.dumps({"event_id": f"e{number}", "event_time": at, "event_type": "click"}).encode()


def read_stream(services, run_id="run"):
    intake = EventFiles(RunContext(services, run_id))
    limits = intake.run.runbook.rulings.stream.limits
    reader = KinesisReader(services.settings, STREAM)
    return list(consume(intake, reader, limits, max_batches=10))


def bronze(services, columns):
    with services.connect() as con:
        return services.lake.relation(con, RAW_EVENTS).project(columns).order("1, 2").fetchall()


def test_events_of_a_stream_are_in_bronze_as_delivered(kinesis, services):
    first, last = kinesis.put(event(1)), kinesis.put(event(2))
    read_stream(services)
    name = f"kinesis/{STREAM}/{SHARD}/{first}-{last}.gz"
    assert bronze(services, "event_id, line_number, source, file_name, raw") == [
        ("e1", 1, "stream_events", name, event(1).decode()),
        ("e2", 2, "stream_events", name, event(2).decode()),
    ]


def test_packed_and_adjacent_events_are_events_of_their_own(kinesis, services):
    kinesis.put(packed([event(1), event(2)]))
    kinesis.put(event(3) + event(4))
    read_stream(services)
    assert [row[0] for row in bronze(services, "event_id, 0")] == ["e1", "e2", "e3", "e4"]


def test_an_event_is_received_when_the_stream_took_it(kinesis, services):
    kinesis.put(event(1))
    took_at = datetime(2026, 10, 1, 12, 0, 1, tzinfo=UTC)
    shard = kinesis.shards[SHARD]
    shard.records[0] = (shard.records[0][0], took_at.timestamp(), *shard.records[0][2:])
    read_stream(services)
    assert bronze(services, "received_at, 0") == [(took_at, 0)]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b"no json", "invalid_json"),
        (b'{"event_id": "x"}', "missing_time"),
        (b'{"a": "' + b"x" * 1_100_000 + b'"}', "line_too_long"),
    ],
)
def test_a_bad_record_is_quarantined_and_the_rest_goes_on(kinesis, services, bad, rule):
    kinesis.put(bad)
    kinesis.put(event(1))
    read_stream(services)
    with services.database.connection() as connection:
        (held,) = list_rows(connection, PIPELINE)
        assert (held.row.rule, imbalances(connection, PIPELINE)) == (rule, [])
    assert [row[0] for row in bronze(services, "event_id, 0")] == ["e1"]


def test_a_batch_of_nothing_readable_is_quarantined_and_the_stream_goes_on(kinesis, services):
    kinesis.put(b"no json")
    read_stream(services)
    kinesis.put(event(1))
    read_stream(services, "next")
    assert [row[0] for row in bronze(services, "event_id, 0")] == ["e1"]
    assert len(services.landing(PIPELINE).list("quarantine")) == 1


def test_a_replayed_batch_is_in_bronze_once(kinesis, services):
    kinesis.put(event(1))
    kinesis.put(b"no json")
    ((outcome,),) = [batch.files for batch in read_stream(services)]
    list(read_again(EventFiles(RunContext(services, "replay")), [(outcome.sha256, outcome.name)]))
    assert [row[0] for row in bronze(services, "event_id, 0")] == ["e1"]


def position(services: Services) -> str | None:
    text = services.lake.property(RAW_EVENTS, property_name(STREAM))
    return Committed.parse(text).positions.get(SHARD)


def in_bronze(services: Services) -> list[object]:
    return [row[0] for row in bronze(services, "event_id, 0")]


@pytest.fixture
def read_twice(kinesis: LocalKinesis, services: Services) -> tuple[str, str]:
    """Read two batches by two runs, then stop; return the position after each."""
    first = kinesis.put(event(1))
    read_stream(services, "read-1")
    second = kinesis.put(event(2))
    read_stream(services, "read-2")
    undone.stop(services)
    return first, second


def test_rows_position_and_batch_are_what_they_were_before(services, read_twice) -> None:
    undone.undo(services, "read-2", "source")
    assert (in_bronze(services), position(services)) == (["e1"], read_twice[0])
    assert len(undone.state(services)["archive"]) == len(undone.state(services)["register"]) == 1


def test_after_the_resume_the_stream_gives_the_records_again(services, read_twice) -> None:
    undone.undo(services, "read-2", "source")
    undone.resume(services)
    read_stream(services, "read-3")
    assert (in_bronze(services), position(services)) == (["e1", "e2"], read_twice[1])


def test_an_undone_run_is_nobodys_position_before(kinesis, services, read_twice) -> None:
    undone.undo(services, "read-2", "source")
    undone.resume(services)
    kinesis.put(event(3))
    read_stream(services, "read-3")
    undone.stop(services)
    undone.undo(services, "read-3", "source")
    assert (in_bronze(services), position(services)) == (["e1"], read_twice[0])


def test_the_first_run_of_all_goes_back_to_the_beginning(services, read_twice) -> None:
    undone.undo(services, "read-2", "source")
    undone.undo(services, "read-1", "source")
    assert (in_bronze(services), position(services)) == ([], None)


def test_a_run_from_which_another_one_read_on_is_refused(services, read_twice) -> None:
    with pytest.raises(PermanentError, match="undo read-2"):
        undone.undo(services, "read-1", "source")


def test_records_that_the_stream_may_have_lost_are_not_given_up(services, read_twice) -> None:
    with services.database.transaction() as connection:
        connection.execute("UPDATE stream_reads SET retention_hours = 1")
    with pytest.raises(PermanentError, match="might not be read again"):
        undone.undo(services, "read-2", "source")
    assert in_bronze(services) == ["e1", "e2"]


def test_held_in_quarantine_the_position_stays(services, read_twice) -> None:
    undone.undo(services, "read-2", "quarantine")
    assert (in_bronze(services), position(services)) == (["e1"], read_twice[1])
    assert len(undone.state(services)["quarantine"]) == 1
