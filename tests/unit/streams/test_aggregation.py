"""What a producer packed comes out as it was; what only looks packed stays as it is."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.streams.aggregation import MAGIC, user_records
from tests.unit.streams.packing import packed


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=20))
def test_packed_records_come_out_as_they_were(records):
    assert user_records(packed(records)) == records


@given(st.binary(max_size=200))
def test_a_plain_record_is_itself(data):
    assert user_records(data) == [data]


def test_a_damaged_pack_is_a_plain_record():
    damaged = packed([b"a", b"b"])[:-1] + b"\x00"
    assert user_records(damaged) == [damaged]


@given(st.binary(max_size=200))
def test_a_pack_of_nonsense_is_a_plain_record_or_unpacked_but_never_an_error(content):
    nonsense = MAGIC + content + hashlib.md5(content).digest()
    assert isinstance(user_records(nonsense), list)


def test_a_pack_without_data_is_a_plain_record():
    empty = packed([])
    inner = empty[len(MAGIC) : -16] + b"\x1a\x00"
    without = MAGIC + inner + hashlib.md5(inner).digest()
    assert user_records(without) == [without]
