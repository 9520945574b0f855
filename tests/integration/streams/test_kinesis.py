"""A Kinesis stream read over HTTP: every record once, in the order of its shard, in bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.failures import InvalidSettingError, PermanentError, UnavailableError
from pipeline_platform.streams import kinesis as driver
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.streams.reading import FINISHED, Limits
from tests.integration.streams.conftest import STREAM
from tests.unit.streams.packing import packed

WIDE = Limits(max_records=10_000, max_bytes=10_000_000, max_seconds=5)
FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


@pytest.fixture
def reader(stream_settings):
    return KinesisReader(stream_settings, STREAM)


def texts(batch):
    return [record.data.decode() for record in batch.records]


def all_texts(batches):
    return [text for batch in batches for text in texts(batch)]


def all_batches(reader, limits, positions=None):
    batches, positions = [], positions or {}
    while (batch := reader.read_batch(positions, limits)).records:
        batches.append(batch)
        positions = batch.new_positions
    return batches


def put_many(kinesis, count, first=0):
    for number in range(first, first + count):
        kinesis.put(str(number).encode(), key=str(number))


def test_a_batch_has_the_records_of_all_shards(kinesis, reader):
    put_many(kinesis, 20)
    assert sorted(texts(reader.read_batch({}, WIDE)), key=int) == [str(n) for n in range(20)]


def test_a_record_has_shard_number_arrival_and_bytes(kinesis, reader):
    number = kinesis.put(b"\x00\xff", shard=SECOND)
    (record,) = reader.read_batch({}, WIDE).records
    assert (record.shard, record.sequence_number, record.data) == (SECOND, number, b"\x00\xff")
    assert timedelta(0) <= datetime.now(UTC) - record.arrived_at < timedelta(minutes=1)


def test_a_stream_whose_description_may_not_be_read_is_read_all_the_same(kinesis, reader):
    kinesis.retention_hours = None
    put_many(kinesis, 2)
    batch = reader.read_batch({}, WIDE)
    assert (len(batch.records), batch.retention_hours) == (2, None)


def test_the_same_positions_give_the_same_records_again(kinesis, reader):
    put_many(kinesis, 20)
    assert reader.read_batch({}, WIDE) == reader.read_batch({}, WIDE)


def test_reading_goes_on_after_the_positions(kinesis, reader):
    put_many(kinesis, 20)
    positions = reader.read_batch({}, WIDE).new_positions
    put_many(kinesis, 5, first=100)
    batch = reader.read_batch(positions, WIDE)
    assert sorted(texts(batch)) == ["100", "101", "102", "103", "104"]


def test_a_stream_with_nothing_new_leaves_positions_alone(kinesis, reader):
    put_many(kinesis, 3)
    positions = reader.read_batch({}, WIDE).new_positions
    batch = reader.read_batch(positions, WIDE)
    assert (batch.records, batch.new_positions, batch.millis_behind_latest) == ((), positions, 0)


def test_a_batch_ends_at_its_records(kinesis, reader):
    put_many(kinesis, 25)
    batches = all_batches(reader, Limits(10, 10_000_000, 5))
    assert [len(batch.records) for batch in batches] == [10, 10, 5]
    assert sorted(all_texts(batches), key=int) == [str(n) for n in range(25)]


def test_a_batch_ends_before_its_bytes_are_exceeded(kinesis, reader):
    for _ in range(5):
        kinesis.put(b"x" * 400, shard=FIRST)
    batches = all_batches(reader, Limits(10_000, 1000, 5))
    assert [len(batch.records) for batch in batches] == [2, 2, 1]


def test_a_record_larger_than_a_batch_is_a_batch_of_its_own(kinesis, reader):
    kinesis.put(b"x" * 5000, shard=FIRST)
    kinesis.put(b"y", shard=FIRST)
    batches = all_batches(reader, Limits(10_000, 1000, 5))
    assert [len(batch.records[0].data) for batch in batches] == [5000, 1]


def test_a_batch_ends_when_its_time_is_over(kinesis, reader):
    put_many(kinesis, 4)
    assert reader.read_batch({}, Limits(10_000, 10_000_000, 0)).records == ()


def test_a_busy_shard_does_not_keep_the_other_one_waiting(kinesis, reader):
    for number in range(100):
        kinesis.put(str(number).encode(), shard=FIRST)
    kinesis.put(b"the other", shard=SECOND)
    assert "the other" in texts(reader.read_batch({}, Limits(10, 10_000_000, 5)))


def test_short_pages_are_read_on(kinesis, reader):
    kinesis.page_records = 3
    put_many(kinesis, 20)
    assert len(reader.read_batch({}, WIDE).records) == 20


def test_a_batch_says_how_far_it_is_behind(kinesis, reader):
    for _ in range(3):
        kinesis.put(b"1", shard=FIRST)
    assert reader.read_batch({}, Limits(2, 10_000_000, 5)).millis_behind_latest > 0


def test_a_split_shard_is_finished_before_its_children_begin(kinesis, reader):
    for number in range(6):
        kinesis.put(str(number).encode(), key="one key", shard=FIRST)
    kinesis.split(FIRST)
    for number in range(6, 12):
        kinesis.put(str(number).encode(), key="one key", shard="shardId-000000000002")
    kinesis.page_records = 2
    batches = all_batches(reader, Limits(4, 10_000_000, 5))
    assert all_texts(batches) == [str(number) for number in range(12)]
    assert batches[-1].new_positions[FIRST] == FINISHED


def test_a_merged_shard_waits_for_both_parents(kinesis, reader):
    kinesis.put(b"first", shard=FIRST)
    kinesis.put(b"second", shard=SECOND)
    kinesis.merge(FIRST, SECOND)
    kinesis.put(b"merged", key="any")
    batches = all_batches(reader, Limits(1, 10_000_000, 5))
    assert all_texts(batches)[-1] == "merged"


def test_a_parent_that_the_stream_has_forgotten_holds_nobody_up(kinesis, reader):
    kinesis.split(FIRST)
    kinesis.put(b"child", shard="shardId-000000000002")
    kinesis.forget(FIRST)
    assert texts(reader.read_batch({}, WIDE)) == ["child"]


def test_a_finished_shard_that_the_stream_has_forgotten_is_forgotten(kinesis, reader):
    kinesis.split(FIRST)
    positions = reader.read_batch({}, WIDE).new_positions
    kinesis.forget(FIRST)
    assert FIRST in positions
    assert FIRST not in reader.read_batch(positions, WIDE).new_positions


def test_reading_can_begin_at_an_instant(kinesis, stream_settings):
    kinesis.put(b"before", shard=FIRST)
    shard = kinesis.shards[FIRST]
    shard.records[0] = (shard.records[0][0], shard.records[0][1] - 3600, b"before", "key")
    kinesis.put(b"after", shard=FIRST)
    start = datetime.now(UTC) - timedelta(minutes=5)
    reader = KinesisReader(stream_settings, STREAM, start=start)
    assert texts(reader.read_batch({}, WIDE)) == ["after"]


def test_an_iterator_that_expires_is_replaced(kinesis, reader):
    kinesis.page_records = 1
    for _ in range(3):
        kinesis.put(b"1", shard=FIRST)
    get_records = kinesis._GetRecords

    def expire_after_the_first(request):
        answer = get_records(request)
        kinesis.expire_iterators()
        kinesis._GetRecords = get_records
        return answer

    kinesis._GetRecords = expire_after_the_first
    assert len(reader.read_batch({}, WIDE).records) == 3
    assert kinesis.calls.count("GetShardIterator") > 2


def test_throttling_is_waited_out(kinesis, reader):
    put_many(kinesis, 5)
    kinesis.errors = ["ProvisionedThroughputExceededException"] * 3
    assert len(reader.read_batch({}, WIDE).records) == 5


def test_throttling_without_end_is_a_transient_failure(kinesis, reader):
    put_many(kinesis, 5)
    kinesis.errors = ["ProvisionedThroughputExceededException"] * 1000
    with pytest.raises(UnavailableError, match="read too often"):
        reader.read_batch({}, Limits(10, 1000, 0.5))


def test_what_was_read_before_throttling_is_a_batch(kinesis, reader):
    kinesis.page_records = 1
    for _ in range(3):
        kinesis.put(b"1", shard=FIRST)
    get_records = kinesis._GetRecords

    def throttle_after_the_first(request):
        answer = get_records(request)
        kinesis.errors = ["ProvisionedThroughputExceededException"] * 1000
        return answer

    kinesis._GetRecords = throttle_after_the_first
    assert texts(reader.read_batch({}, Limits(10, 1000, 1.5))) == ["1"]


def test_records_that_a_producer_packed_are_unpacked(kinesis, reader):
    number = kinesis.put(packed([b'{"a": 1}', b'{"a": 2}']), shard=FIRST)
    batch = reader.read_batch({}, WIDE)
    assert texts(batch) == ['{"a": 1}', '{"a": 2}']
    assert batch.new_positions[FIRST] == number


def test_a_packed_record_is_never_cut_in_two(kinesis, reader):
    kinesis.put(b"0", shard=FIRST)
    kinesis.put(packed([b"1", b"2", b"3"]), shard=FIRST)
    batches = all_batches(reader, Limits(2, 10_000, 5))
    assert list(map(texts, batches)) == [["0"], ["1", "2", "3"]]


def test_a_stream_that_is_not_there_is_named(stream_settings):
    with pytest.raises(InvalidSettingError, match="stream other can't be read"):
        KinesisReader(stream_settings, "other").read_batch({}, WIDE)


def test_a_position_of_another_stream_is_a_permanent_failure(kinesis, reader):
    with pytest.raises(PermanentError, match="made anew under its old name"):
        reader.read_batch({FIRST: "9" * 60}, WIDE)


def test_a_server_that_is_away_is_a_transient_failure(made_up_credentials, tmp_path, monkeypatch):
    settings = driver.Settings(home=tmp_path, kinesis_endpoint="http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="did not answer"):
        KinesisReader(settings, STREAM).read_batch({}, WIDE)


def test_missing_credentials_are_a_setting_to_mend(kinesis, reader, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(InvalidSettingError, match="no AWS credentials"):
        reader.read_batch({}, WIDE)
