"""The same driver against moto's server: another implementation of shards and iterators."""

import hashlib
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from pipeline_platform.settings import Settings
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.streams.reading import Limits
from tests.integration.landing.local_s3 import REGION, running_server

LIMITS = Limits(max_records=7, max_bytes=1_000_000, max_seconds=10)


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("moto")) as address:
        yield boto3.client("kinesis", endpoint_url=address, region_name=REGION), address


@pytest.fixture
def stream(moto, request):
    client, _ = moto
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    client.create_stream(StreamName=name, ShardCount=3)
    return name


@pytest.fixture
def reader(moto, stream, tmp_path):
    return KinesisReader(Settings(home=tmp_path, kinesis_endpoint=moto[1]), stream)


def put(moto, stream, numbers):
    client, _ = moto
    client.put_records(
        StreamName=stream,
        Records=[{"Data": str(n).encode(), "PartitionKey": str(n)} for n in numbers],
    )


def read_all(reader, positions=None):
    found, positions = [], positions or {}
    while (batch := reader.read_batch(positions, LIMITS)).records:
        found += [int(record.data) for record in batch.records]
        positions = batch.new_positions
    return sorted(found), positions


def test_records_of_several_shards_are_read_once(moto, stream, reader):
    put(moto, stream, range(30))
    found, positions = read_all(reader)
    assert (found, len(positions)) == (list(range(30)), 3)


def test_reading_goes_on_after_the_positions(moto, stream, reader):
    put(moto, stream, range(10))
    _, positions = read_all(reader)
    put(moto, stream, range(10, 20))
    assert read_all(reader, positions)[0] == list(range(10, 20))


def test_records_of_a_split_stream_are_read_once(moto, stream, reader):
    client, _ = moto
    put(moto, stream, range(20))
    client.split_shard(
        StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**120)
    )
    assert read_all(reader)[0] == list(range(20))


def test_reading_begins_at_an_instant(moto, stream, tmp_path):
    put(moto, stream, range(5))
    before = datetime.now(UTC) - timedelta(minutes=1)
    settings = Settings(home=tmp_path, kinesis_endpoint=moto[1])
    assert len(read_all(KinesisReader(settings, stream, start=before))[0]) == 5


def test_a_batch_says_for_how_long_the_stream_keeps_records(moto, stream, reader):
    client, _ = moto
    client.increase_stream_retention_period(StreamName=stream, RetentionPeriodHours=48)
    assert reader.read_batch({}, LIMITS).retention_hours == 48
