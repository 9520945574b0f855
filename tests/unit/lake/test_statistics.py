"""Theta sketches are byte for byte those of Apache DataSketches (5.2.0), up to 4096 values."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.lake.statistics import KEPT_HASHES, puffin_file, theta_sketch

GOLDEN = {
    0: "01030300001ecc93",
    1: "01030300001acc933f2bfc06c27cd90a",
}
"""`compact_theta_sketch.serialize()` of "value 0" to "value n-1", written by that library."""


def values(count: int) -> list[bytes]:
    return [f"value {number}".encode() for number in range(count)]


@pytest.mark.parametrize("count", GOLDEN)
def test_a_sketch_is_written_as_datasketches_writes_it(count: int) -> None:
    assert theta_sketch(values(count)).to_bytes().hex() == GOLDEN[count]


def test_a_sketch_of_three_begins_as_that_of_datasketches() -> None:
    written = theta_sketch(values(3)).to_bytes().hex()

    assert written.startswith("02030300001acc9303000000000000003f2bfc06c27cd90a")
    assert len(written) == 2 * (16 + 3 * 8)


def test_an_estimating_sketch_keeps_its_bound_and_4096_hashes() -> None:
    written = theta_sketch(values(100_000)).to_bytes()

    assert written[:24].hex() == "03030300001acc930010000000000000964b344775674a05"
    hashes = struct.unpack(f"<{KEPT_HASHES}Q", written[24:])
    assert list(hashes) == sorted(hashes)
    assert theta_sketch(values(100_000)).distinct_count == 99_097


@given(st.lists(st.binary(max_size=4)))
def test_few_values_are_counted_exactly_however_often_they_come(found: list[bytes]) -> None:
    assert theta_sketch([*found, *reversed(found)]).distinct_count == len(set(found))


@given(st.integers(KEPT_HASHES + 1, 60_000))
def test_many_values_are_estimated_within_eight_percent(count: int) -> None:
    found = theta_sketch(number.to_bytes(4, "little") for number in range(count)).distinct_count

    assert found == pytest.approx(count, rel=0.08)  # five standard errors


def test_a_puffin_file_says_where_each_sketch_is() -> None:
    sketches = {3: theta_sketch(values(2)), 5: theta_sketch([])}

    content, footer_size, blobs = puffin_file(sketches, snapshot_id=11, sequence_number=7)

    assert content[:4] == content[-4:] == content[-footer_size:][:4] == b"PFA1"
    (payload_size,) = struct.unpack("<I", content[-12:-8])
    footer = json.loads(content[-12 - payload_size : -12])
    assert footer["blobs"] == blobs
    for blob, (field, sketch) in zip(blobs, sketches.items(), strict=True):
        assert (blob["fields"], blob["snapshot-id"], blob["sequence-number"]) == ([field], 11, 7)
        assert content[blob["offset"] : blob["offset"] + blob["length"]] == sketch.to_bytes()
        assert blob["properties"] == {"ndv": str(sketch.distinct_count)}
