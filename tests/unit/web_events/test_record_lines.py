"""A file's records: split where they end, numbered, and kept aside where they can't be text."""

import gzip
import json
import time
import tracemalloc
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.ingestion.delivery_errors import DeliveryError
from pipeline_platform.web_events import record_lines
from pipeline_platform.web_events.record_lines import RecordLines
from tests.examples import examples


@pytest.fixture
def read(tmp_path: Path):
    def reading(content: bytes, *, are_objects: bool = True, limit: int = 1000, depth: int = 5):
        path = tmp_path / "delivered"
        path.write_bytes(content)
        return RecordLines(
            path, "f", are_objects=are_objects, max_line_bytes=limit, max_json_depth=depth
        )

    return reading


def texts(lines: RecordLines) -> list[tuple[int, str]]:
    return [
        (number, text.strip())
        for batch in lines.batches()
        for number, text in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def rejected(lines: RecordLines) -> set[tuple[int, str]]:
    list(lines.batches())
    return {(one.line_number, one.rule) for one in lines.rejected}


def test_no_more_is_read_than_the_engine_asks_for(read, monkeypatch) -> None:
    monkeypatch.setattr(record_lines, "READ_BYTES", 100_000)
    lines = read(b'{"a":1}\n' * 1_000_000)
    with duckdb.connect(config={"threads": 1}) as engine:
        batches = engine.from_arrow(lines.stream()).to_arrow_reader(10_000)
        batches.read_next_batch()
        time.sleep(0.2)
        assert lines.count <= 500_000


def test_lines_keep_their_numbers_and_blank_ones_are_none(read) -> None:
    lines = read(b'{"a":1}\n\n{"b":2}\r\n\r\n{"c":3}')
    assert (texts(lines), lines.count) == ([(1, '{"a":1}'), (3, '{"b":2}'), (5, '{"c":3}')], 3)


@pytest.mark.parametrize("between", ["", " ", "\n", "\r\n", "\n\n"])
def test_objects_may_follow_each_other_with_or_without_line_ends(read, between) -> None:
    objects = ['{"a":"}{"}', '{"b":{"c":"\\"}{"}}', '{"d":[{"e":1},{"f":2}]}']
    found = [text for _, text in texts(read(between.join(objects).encode()))]
    assert found == objects


def test_objects_on_one_line_are_counted_as_lines(read) -> None:
    assert [number for number, _ in texts(read(b'{"a":1}{"b":2}\n{"c":3}'))] == [1, 2, 3]


def test_in_logs_a_line_is_never_cut(read) -> None:
    assert texts(read(b"GET }{ x\n", are_objects=False)) == [(1, "GET }{ x")]


def test_a_broken_object_spoils_its_own_line_only(read) -> None:
    found = texts(read(b'{"a":"open}{"b":1}\n{"c":1}{"d":2}\n'))
    assert [text for _, text in found][1:] == ['{"c":1}', '{"d":2}']


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (b'{"a":"\x00"}', "nul_character"),
        (b'{"a":"\xff"}', "undecodable"),
        (b'{"a":"\xed\xa0\x80"}', "undecodable"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "nested_too_deep"),
        (b"[" * 1000 + b"]" * 1000, "line_too_long"),
    ],
)
def test_a_record_that_can_t_be_read_stays_aside_and_the_rest_goes_on(read, record, rule) -> None:
    lines = read(b'{"first":1}\n' + record + b'\n{"last":2}\n')
    assert texts(lines) == [(1, '{"first":1}'), (3, '{"last":2}')]
    assert ({(one.line_number, one.rule) for one in lines.rejected}, lines.count) == (
        {(2, rule)},
        3,
    )


def test_brackets_in_strings_are_no_depth(read) -> None:
    record = json.dumps({"a": "[{" * 50})
    assert [text for _, text in texts(read(record.encode()))] == [record]


def test_what_is_kept_of_a_record_is_text_that_a_database_takes(read) -> None:
    lines = read(b'{"a":"\x00\xff"}\n')
    list(lines.batches())
    assert [one.record for one in lines.rejected] == ['{"a":"\\x00\\xff"}']


def test_a_line_of_fifty_megabytes_takes_no_memory(read) -> None:
    lines = read(b'{"a":1}\n' + b"x" * 50_000_000 + b'\n{"b":2}\n', limit=1_000_000)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    assert [number for number, _ in texts(lines)] == [1, 3]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before + peak < 40_000_000


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100 + b'\\"' * 400_000 + b"\n",
        b"[" * 100 + b'\\"' * 400_000 + b"\\\n",
        b"[" * 100 + b'"' * 800_001 + b"\n",
        b'{"a":1}{"b":"' + b"\\" * 900_000 + b'"}\n',
        b"[" * 900_000 + b"\n",
        b"\xff\n" * 5000 + b"{}\n" * 1_000_000,
    ],
    ids=["escapes", "open escape", "quotes", "backslashes", "brackets", "bad lines"],
)
def test_a_hostile_record_takes_no_time(read, content) -> None:
    begin = time.process_time()
    list(read(content, limit=1_000_000).batches())
    assert time.process_time() - begin < 5


@given(st.lists(st.sampled_from(["\\", '"', "{", "}", "[", "]", "a"]), max_size=30))
def test_depth_is_that_of_the_brackets_outside_of_strings(parts) -> None:
    record = json.dumps({"text": "".join(parts), "list": [["".join(parts)], {}]})
    assert record_lines._depth(record.encode()) == 3


def test_records_are_whole_wherever_a_read_ends(read, monkeypatch) -> None:
    monkeypatch.setattr(record_lines, "READ_BYTES", 7)
    records = [f'{{"n":{n}}}' for n in range(30)]
    assert [text for _, text in texts(read("\n".join(records).encode()))] == records


@examples(60)
@given(
    objects=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.none(), max_size=3),
        min_size=1,
        max_size=12,
    ),
    between=st.sampled_from(["", "\n", " "]),
    size=st.integers(1, 40),
)
def test_any_objects_come_out_as_they_went_in(tmp_path_factory, objects, between, size) -> None:
    written = [json.dumps(one, ensure_ascii=False).replace("\x00", "") for one in objects]
    path = tmp_path_factory.mktemp("any") / "f"
    path.write_bytes(between.join(written).encode("utf-8", "replace"))
    lines = RecordLines(path, "f", are_objects=True, max_line_bytes=10_000, max_json_depth=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_lines, "READ_BYTES", size)
        found = [text for _, text in texts(lines)]
    assert [json.loads(one) for one in found] == [
        json.loads(one.encode("utf-8", "replace")) for one in written
    ]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty_file"),
        (gzip.compress(b'{"a":1}\n' * 10_000, mtime=0)[:50], "truncated_gzip"),
        (gzip.compress(b'{"a":1}\n', mtime=0)[:-4] + b"\x00\x00\x00\x01", "corrupt_gzip"),
        (pa.compress(b'{"a":1}\n' * 10_000, "zstd", asbytes=True)[:20], "truncated_zstd"),
        ('{"a":1}\n'.encode("utf-16"), "wrong_encoding"),
    ],
)
def test_a_file_that_can_t_be_read_as_a_whole_says_why(read, content, rule) -> None:
    with pytest.raises(DeliveryError) as caught:
        list(read(content).batches())
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda b: pa.compress(b, "zstd", asbytes=True)]
)
def test_compression_is_seen_from_the_file(read, compress) -> None:
    lines = read(compress(b'{"a":1}\n') + compress(b'{"b":2}\n'))
    assert [text for _, text in texts(lines)] == ['{"a":1}', '{"b":2}']


def test_a_byte_order_mark_is_no_part_of_the_first_record(read) -> None:
    assert texts(read(b'\xef\xbb\xbf{"a":1}')) == [(1, '{"a":1}')]
