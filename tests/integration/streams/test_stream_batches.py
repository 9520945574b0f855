"""A stream taken to bronze: rows, positions, register, ledger, quarantine and archive agree."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import strategies as st

from pipeline_platform.failures import ConflictError, UnavailableError
from pipeline_platform.ingestion import files as ingestion_files
from pipeline_platform.ingestion import stream_batches
from pipeline_platform.ingestion.files import ingest_arrivals, ingest_files
from pipeline_platform.ingestion.stream_batches import consume, consume_batch, stream_lock
from pipeline_platform.quality.conservation import imbalances
from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.services import Services
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.streams.reading import Limits
from pipeline_platform.streams.reads import stream_health
from pipeline_platform.warehouse.locks import named_lock
from tests.examples import examples
from tests.integration.streams.conftest import STREAM
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.streams.sample_intake import CLICKS, clicks_intake

LIMITS = Limits(max_records=5, max_bytes=10_000_000, max_seconds=5)


@pytest.fixture
def reader(settings):
    return KinesisReader(settings, STREAM)


def event(number, day="2026-10-01"):
    return json.dumps({"id": str(number), "day": day}).encode()


def put_events(kinesis, numbers):
    for number in numbers:
        kinesis.put(event(number, f"2026-10-{1 + number % 3:02}"), key=str(number))


def run_all(intake, reader, max_batches=100):
    return list(consume(intake, reader, LIMITS, max_batches=max_batches))


def ids(services):
    with services.connect() as con:
        rows = services.lake.relation(con, CLICKS).project("id").fetchall()
    return sorted(int(text) for (text,) in rows)


def register(services):
    with services.database.connection() as connection:
        return connection.execute(
            "SELECT file_name, status, records_processed, location FROM etl_processing_log"
        ).fetchall()


def committed(services):
    return Committed.parse(services.lake.property(CLICKS, property_name(STREAM)))


def test_every_record_becomes_a_row(kinesis, services, intake, reader):
    put_events(kinesis, range(12))
    run_all(intake, reader)
    assert ids(services) == list(range(12))


def test_a_second_run_adds_only_what_is_new(kinesis, services, intake, reader):
    put_events(kinesis, range(7))
    run_all(intake, reader)
    put_events(kinesis, range(7, 9))
    run_all(intake, reader)
    assert ids(services) == list(range(9))


def test_positions_are_in_the_snapshot_and_in_the_table(kinesis, services, intake, reader):
    number = kinesis.put(event(1), shard="shardId-000000000000")
    run_all(intake, reader)
    positions = {"shardId-000000000000": number}
    snapshot = services.lake.last_publication(CLICKS)
    assert json.loads(snapshot.properties["stream_positions"]) == {STREAM: positions}
    assert committed(services).positions == positions


def test_a_run_ends_after_so_many_batches(kinesis, intake, reader):
    put_events(kinesis, range(12))
    assert len(run_all(intake, reader, max_batches=2)) == 2


def test_a_batch_is_registered_as_a_file_per_shard(kinesis, services, intake, reader):
    first = kinesis.put(event(1), shard="shardId-000000000000")
    last = kinesis.put(event(2), shard="shardId-000000000000")
    run_all(intake, reader)
    ((name, status, records, _),) = register(services)
    assert name == f"kinesis/clicks/shardId-000000000000/{first}-{last}.gz"
    assert (status, records) == ("PUBLISHED", 2)


def test_the_raw_bytes_are_archived(kinesis, services, intake, reader):
    kinesis.put(event(1))
    run_all(intake, reader)
    zone = services.landing("clicks")
    ((name, _, _, location),) = register(services)
    (archived,) = zone.list("archive")
    assert archived.key.endswith(name)
    assert location.endswith(archived.key)
    assert zone.list("processing") == []


def test_bad_records_go_to_quarantine_with_their_bytes(kinesis, services, intake, reader):
    kinesis.put(b"no \xff json", shard="shardId-000000000000")
    kinesis.put(event(1), shard="shardId-000000000000")
    run_all(intake, reader)
    with services.database.connection() as connection:
        (held,) = list_rows(connection, "clicks")
    assert (held.row.record, held.row.line_number) == (r"no \xff json", 1)
    assert ids(services) == [1]


def test_a_batch_of_bad_records_only_moves_the_positions_too(kinesis, services, intake, reader):
    kinesis.put(b"no json")
    run_all(intake, reader)
    before = committed(services)
    run_all(intake, reader)
    assert before.positions
    assert committed(services) == before


def test_the_ledger_balances(kinesis, services, intake, reader):
    put_events(kinesis, range(6))
    kinesis.put(b"no json")
    run_all(intake, reader)
    with services.database.connection() as connection:
        arrived = connection.execute("SELECT sum(arrived) FROM conservation_ledger").fetchone()
        assert (arrived, imbalances(connection, "clicks")) == ((7,), [])


def test_touched_dates_are_asked_for(kinesis, services, intake, reader):
    put_events(kinesis, range(3))
    run_all(intake, reader)
    with services.database.connection() as connection:
        rows = connection.execute("SELECT partition_key FROM partition_work ORDER BY 1").fetchall()
    assert rows == [("2026-10-01",), ("2026-10-02",), ("2026-10-03",)]


def test_equal_records_in_two_batches_are_both_kept(kinesis, services, intake, reader):
    """A batch is not a duplicate because its records look like another's; silver decides that."""
    kinesis.put(event(1), shard="shardId-000000000000")
    run_all(intake, reader)
    kinesis.put(event(1), shard="shardId-000000000000")
    run_all(intake, reader)
    assert ids(services) == [1, 1]


def test_an_archived_batch_can_be_replayed(kinesis, services, intake, reader):
    put_events(kinesis, range(4))
    run_all(intake, reader)
    zone = services.landing("clicks")
    files = [zone.restore(item.key.split("/")[1]) for item in zone.list("archive")]
    list(ingest_files(intake, files, again=True))
    assert ids(services) == list(range(4))
    assert {row[0] for row in register(services)} == {file.name for file in files}


def test_a_stream_is_read_by_one_run_at_a_time(kinesis, settings, intake, reader):
    with (
        Services(settings) as others,
        named_lock(others.database, stream_lock("clicks", STREAM)),
        pytest.raises(ConflictError, match="held the lock"),
    ):
        run_all(intake, reader)


def test_readers_without_a_lock_neither_lose_nor_double_a_record(
    kinesis, settings, services, reader
):
    """A lock ends with its database session; the positions' compare-and-set does not.

    Each may take over from another one, so that all of them give up; whoever comes next reads it.
    """
    put_events(kinesis, range(5))
    services.lake.ensure(CLICKS)

    def read(number):
        with Services(settings) as own, suppress(ConflictError):
            consume_batch(clicks_intake(own, f"run-{number}"), reader, LIMITS)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read, range(3)))
    run_all(clicks_intake(services, "next"), reader)

    assert ids(services) == list(range(5))


def test_who_reads_the_same_records_later_and_commits_first_wins(
    kinesis, settings, services, intake, monkeypatch
):
    """The slow reader's batch is another content: it was read before the last record came."""
    put_events(kinesis, range(3))
    reader = KinesisReader(settings, STREAM)
    stage = ingestion_files._stage_file

    def be_overtaken(*arguments, **options):
        staged = stage(*arguments, **options)
        monkeypatch.setattr(ingestion_files, "_stage_file", stage)
        put_events(kinesis, [3])
        with Services(settings) as others:
            consume_batch(clicks_intake(others, "fast"), reader, LIMITS)
        return staged

    monkeypatch.setattr(ingestion_files, "_stage_file", be_overtaken)
    with pytest.raises(ConflictError, match="was faster"):
        consume_batch(intake, reader, LIMITS)
    run_all(clicks_intake(services, "next"), reader)
    assert ids(services) == list(range(4))
    assert services.landing("clicks").list("processing") == []


def test_a_batch_that_another_run_gives_up_while_it_is_read_is_a_conflict(
    kinesis, settings, services, intake, monkeypatch
):
    """The other run moved the positions before they were read here, and removes the file after."""
    put_events(kinesis, range(3))
    reader = KinesisReader(settings, STREAM)
    stage = ingestion_files._stage_file

    def be_robbed(intake, file, **options):
        monkeypatch.setattr(ingestion_files, "_stage_file", stage)
        stream_batches._give_up(intake, [file])
        return stage(intake, file, **options)

    monkeypatch.setattr(ingestion_files, "_stage_file", be_robbed)
    with pytest.raises(ConflictError, match="was faster"):
        consume_batch(intake, reader, LIMITS)
    run_all(clicks_intake(services, "next"), reader)
    assert ids(services) == list(range(3))


def test_who_was_given_up_for_dead_can_not_publish(
    kinesis, settings, services, intake, monkeypatch
):
    """Another run has removed its batch; nothing new came, so no position has moved since."""
    put_events(kinesis, range(3))
    reader = KinesisReader(settings, STREAM)
    publish = ingestion_files._publish

    def be_given_up(intake, files, advance):
        if advance is None:
            return publish(intake, files, advance)
        monkeypatch.setattr(ingestion_files, "_publish", publish)
        with Services(settings) as others:
            stream_batches._finish(clicks_intake(others, "other"), STREAM)
        return publish(intake, files, advance)

    monkeypatch.setattr(ingestion_files, "_publish", be_given_up)
    with pytest.raises(ConflictError, match="was faster"):
        consume_batch(intake, reader, LIMITS)
    assert ids(services) == []
    run_all(clicks_intake(services, "next"), reader)
    assert ids(services) == [0, 1, 2]


def test_files_that_arrive_do_not_touch_the_batches_of_a_stream(
    kinesis, services, intake, reader, monkeypatch
):
    put_events(kinesis, range(3))
    with monkeypatch.context() as patch:
        patch.setattr(ingestion_files, "_publish", fail)
        with pytest.raises(UnavailableError):
            consume_batch(intake, reader, LIMITS)
    assert list(ingest_arrivals(intake)) == []
    run_all(intake, reader)
    assert ids(services) == [0, 1, 2]


def fail(*_arguments, **_options):
    raise UnavailableError("The power is off.")


def test_the_ingester_tells_its_health(kinesis, services, intake, reader):
    put_events(kinesis, range(4))
    kinesis.put(b"no json")
    run_all(intake, reader)
    kinesis.errors = ["InternalFailure"] * 100
    with pytest.raises(UnavailableError):
        run_all(intake, reader)
    now = datetime.now(UTC)
    with services.database.connection() as connection:
        health = stream_health(connection, "clicks", STREAM, now=now, window=timedelta(hours=1))
    assert now - health.last_batch_at < timedelta(minutes=1)
    assert health.last_read_at > health.last_batch_at
    assert (health.iterator_age_ms, health.reads, health.failed_reads) == (0, 3, 1)
    assert (health.failed_reads_pct, health.quarantined_pct) == (pytest.approx(100 / 3), 20)


def test_a_stream_never_read_has_no_health(services):
    with services.database.connection() as connection:
        health = stream_health(
            connection, "clicks", STREAM, now=datetime.now(UTC), window=timedelta(hours=1)
        )
    assert (health.last_batch_at, health.iterator_age_ms, health.failed_reads_pct) == (
        None,
        None,
        None,
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 8)),
        st.tuples(st.just("put bad"), st.just(1)),
        st.tuples(st.just("split"), st.integers(0, 3)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("die before publishing"), st.just(1)),
        st.tuples(st.just("die after publishing"), st.just(1)),
        st.tuples(st.just("die while archiving"), st.just(1)),
    ),
    max_size=12,
)


@given(STEPS)
@example(
    [
        ("put bad", 1),
        ("put", 7),
        ("die after publishing", 1),
        ("put", 2),
        ("die while archiving", 1),
    ]
)
@examples(
    5,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # an example takes seconds: shrinking takes minutes
)
def test_whatever_happens_each_record_is_in_the_table_once(
    made_up_credentials, new_database, tmp_path_factory, steps
):
    with LocalKinesis(STREAM, shards=2) as kinesis:
        settings = settings_for(kinesis, tmp_path_factory.mktemp("home"), new_database())
        with Services(settings) as services:
            world = World(kinesis, services)
            for what, count in [*steps, ("read", 1000)]:
                world.do(what, count)
            assert ids(services) == list(range(world.good))
            assert world.held() == world.bad
            assert services.landing("clicks").list("processing") == []
            with services.database.connection() as connection:
                assert imbalances(connection, "clicks") == []
            archived = {
                item.key.split("/", 2)[2] for item in services.landing("clicks").list("archive")
            }
            assert archived == {name for name, *_ in register(services)}


def settings_for(kinesis, home, url):
    from pydantic import SecretStr

    from pipeline_platform.settings import Settings

    return Settings(
        home=home, database_url=SecretStr(url), kinesis_endpoint=kinesis.address, threads=1
    )


class World:
    """A stream and who reads it; a death is an exception at a place where nothing is cleaned up."""

    def __init__(self, kinesis, services):
        self.kinesis, self.services = kinesis, services
        self.good = self.bad = self.runs = 0

    def do(self, what, count):
        if what == "put":
            put_events(self.kinesis, range(self.good, self.good + count))
            self.good += count
        elif what == "put bad":
            self.kinesis.put(b"bad", key=str(self.bad))
            self.bad += 1
        elif what == "split":
            open_shards = [s for s in self.kinesis.shards.values() if s.closed_at is None]
            self.kinesis.split(open_shards[count % len(open_shards)].name)
        elif what == "read":
            self.read(count)
        else:
            self.die(what)

    def read(self, count):
        self.runs += 1
        intake = clicks_intake(self.services, f"run-{self.runs}")
        list(
            consume(
                intake, KinesisReader(self.services.settings, STREAM), LIMITS, max_batches=count
            )
        )

    def die(self, what):
        place = {
            "die before publishing": (ingestion_files, "_publish"),
            "die after publishing": (ingestion_files, "settle_rows"),
            "die while archiving": (ingestion_files, "_record_location"),
        }[what]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*place, die)
            try:
                self.read(1)
            except SystemExit:
                return

    def held(self):
        with self.services.database.connection() as connection:
            return len(list_rows(connection, "clicks", limit=None))


def die(*_arguments, **_options):
    raise SystemExit
