"""A batch as gzip files of lines, one per shard, whose content is theirs alone."""

import gzip
from datetime import UTC, datetime, timedelta

import duckdb

from pipeline_platform.streams.batch_files import batch_files, is_batch_name
from pipeline_platform.streams.reading import Record

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


def record(data, shard="shard-1", number="5", arrived_at=NOON):
    return Record(shard, number, arrived_at, data)


def lines(file):
    return gzip.decompress(file.data)


def test_each_record_is_a_line():
    (file,) = batch_files("clicks", [record(b"a"), record(b"b\n"), record(b"c\nd")])
    assert lines(file) == b"a\nb\nc\nd\n"


def test_a_file_is_named_by_stream_shard_and_sequence_numbers():
    (file,) = batch_files("clicks", [record(b"a", number="5"), record(b"b", number="9")])
    assert file.name == "kinesis/clicks/shard-1/5-9.gz"
    assert is_batch_name(file.name)


def test_each_shard_has_a_file():
    files = batch_files("clicks", [record(b"a", "2"), record(b"b", "1"), record(b"c", "2")])
    assert [lines(file) for file in files] == [b"b\n", b"a\nc\n"]


def test_a_file_arrived_with_its_last_record():
    late = NOON + timedelta(seconds=3)
    (file,) = batch_files("clicks", [record(b"a"), record(b"b", arrived_at=late)])
    assert file.arrived_at == late


def test_the_same_batch_is_the_same_content():
    assert batch_files("clicks", [record(b"a")]) == batch_files("clicks", [record(b"a")])


def test_the_same_records_of_another_batch_are_another_content():
    (first,), (second,) = (batch_files("clicks", [record(b"a", number=n)]) for n in ("5", "6"))
    assert first.data != second.data


def test_duckdb_reads_a_file(tmp_path):
    (file,) = batch_files("clicks", [record(b'{"a": 1}'), record(b'{"a": 2}')])
    (tmp_path / "batch.gz").write_bytes(file.data)
    rows = duckdb.sql(f"SELECT a FROM read_json('{tmp_path / 'batch.gz'}', compression='gzip')")
    assert rows.fetchall() == [(1,), (2,)]


def test_no_records_are_no_files():
    assert batch_files("clicks", []) == []
