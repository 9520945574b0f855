"""No object that arrives is missed, and none is given twice while it waits unchanged."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.landing.arrivals import Batch, batches, next_arrivals
from pipeline_platform.landing.stored_object import StoredObject
from tests.examples import examples

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def an_object(key: str, *, minute: int = 0, size: int = 10, etag: str = "1") -> StoredObject:
    return StoredObject(key, size, NOON + timedelta(minutes=minute), etag)


def given_keys(listing: list[StoredObject], cursor: str | None = None) -> tuple[list[str], str]:
    found, after = next_arrivals(listing, cursor, max_files=1000, max_bytes=10**9)
    return [key for batch in found for key in batch.keys], after


def test_the_first_look_gives_everything_oldest_first() -> None:
    listing = [an_object("new", minute=2), an_object("old", minute=1)]
    assert given_keys(listing)[0] == ["old", "new"]


def test_an_unchanged_object_is_not_given_again() -> None:
    _, cursor = given_keys([an_object("a")])
    assert given_keys([an_object("a")], cursor)[0] == []


def test_an_object_of_the_same_instant_is_given() -> None:
    _, cursor = given_keys([an_object("a")])
    assert given_keys([an_object("a"), an_object("b")], cursor)[0] == ["b"]


def test_an_object_that_appears_with_an_older_time_is_given() -> None:
    _, cursor = given_keys([an_object("a", minute=5)])
    assert given_keys([an_object("a", minute=5), an_object("late", minute=1)], cursor)[0] == [
        "late"
    ]


@pytest.mark.parametrize("change", [{"size_bytes": 11}, {"etag": "2"}, {"modified_at": NOON}])
def test_an_overwritten_object_is_given_again(change: dict[str, object]) -> None:
    before = an_object("a", minute=1)
    _, cursor = given_keys([before])
    assert given_keys([replace(before, **change)], cursor)[0] == ["a"]


def test_an_object_that_comes_back_after_it_was_claimed_is_given_again() -> None:
    _, cursor = given_keys([an_object("a")])
    _, cursor = given_keys([], cursor)
    assert given_keys([an_object("a")], cursor)[0] == ["a"]


def test_a_listing_that_names_an_object_twice_gives_it_once() -> None:
    assert given_keys([an_object("a"), an_object("a")])[0] == ["a"]


def test_an_object_that_may_still_be_written_is_held_back() -> None:
    found, _ = next_arrivals(
        [an_object("young", minute=1)], None, max_files=1, max_bytes=1, settled_before=NOON
    )
    assert found == []


def test_an_object_that_was_held_back_is_given_when_it_has_settled() -> None:
    listing = [an_object("young", minute=1)]
    _, cursor = next_arrivals(listing, None, max_files=1, max_bytes=1, settled_before=NOON)
    assert given_keys(listing, cursor)[0] == ["young"]


def test_what_exceeds_the_batches_of_one_look_is_given_by_the_next() -> None:
    listing = [an_object(f"{number:04}") for number in range(10)]
    limits = {"max_files": 2, "max_bytes": 10**6, "max_batches": 2}
    _, cursor = next_arrivals(listing, None, **limits)
    second, _ = next_arrivals(listing, cursor, **limits)
    assert [batch.keys for batch in second] == [("0004", "0005"), ("0006", "0007")]


@pytest.mark.parametrize(
    "cursor", ["", "{}", "[1]", "null", '{"version": 9, "given": ""}', "a/key"]
)
def test_a_cursor_that_can_not_be_read_counts_as_none(cursor: str) -> None:
    assert given_keys([an_object("a")], cursor)[0] == ["a"]


def test_the_cursor_says_how_far_it_is() -> None:
    _, cursor = given_keys([an_object("a", minute=1), an_object("b", minute=2)])
    assert json.loads(cursor)["last_modified_at"] == "2026-11-20T12:02:00+00:00"


def test_the_cursor_forgets_what_has_left_the_folder() -> None:
    _, cursor = given_keys([an_object(str(number)) for number in range(100)])
    _, after = given_keys([], cursor)
    assert after == given_keys([])[1]


def test_a_cursor_of_five_thousand_waiting_objects_stays_small() -> None:
    _, cursor = given_keys([an_object(f"{number}" * 20) for number in range(5000)])
    assert len(cursor) < 100_000


def test_a_hostile_key_can_be_given() -> None:
    assert given_keys([an_object("\udcff\n")])[0] == ["\udcff\n"]


def test_an_object_larger_than_a_batch_may_be_gets_its_own() -> None:
    found = batches([an_object("a"), an_object("big", size=99)], max_files=5, max_bytes=50)
    assert [batch.keys for batch in found] == [("a",), ("big",)]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_a_limit_below_one_is_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        batches([], max_files=limits[0], max_bytes=limits[1])


def test_a_run_key_depends_on_the_objects_and_not_on_their_order() -> None:
    one, other = an_object("a"), an_object("b")
    assert Batch((one, other)).run_key == Batch((other, one)).run_key


@pytest.mark.parametrize(
    "change", [{"key": "b"}, {"size_bytes": 11}, {"etag": "2"}, {"modified_at": NOON}]
)
def test_a_run_key_changes_with_any_object(change: dict[str, object]) -> None:
    before = an_object("a", minute=1)
    assert Batch((before,)).run_key != Batch((replace(before, **change),)).run_key


listings = st.dictionaries(
    st.text("ab/", min_size=1, max_size=3),
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.sampled_from(["1", "2"])),
    max_size=8,
).map(
    lambda found: [
        an_object(key, minute=minute, size=size, etag=etag)
        for key, (minute, size, etag) in found.items()
    ]
)
"""A folder at one look: few keys and instants, so that they collide, go, come back and change."""


@examples(300)
@given(st.lists(listings, max_size=8), st.integers(1, 4), st.integers(1, 60))
def test_every_version_is_given_once_for_as_long_as_it_stays(
    looks: list[list[StoredObject]], max_files: int, max_bytes: int
) -> None:
    cursor, before, given_now, expected = None, set(), Counter(), Counter()
    for listing in looks:
        expected.update(set(listing) - before)
        found, cursor = next_arrivals(listing, cursor, max_files=max_files, max_bytes=max_bytes)
        given_now.update(item for batch in found for item in batch.objects)
        before = set(listing)
    assert given_now == expected


@examples(200)
@given(listings, st.integers(1, 3), st.integers(1, 60), st.integers(1, 3))
def test_looking_again_and_again_gives_a_waiting_folder_once(
    listing: list[StoredObject], max_files: int, max_bytes: int, max_batches: int
) -> None:
    cursor, given_now = None, Counter()
    for _ in range(len(listing) + 1):
        found, cursor = next_arrivals(
            listing, cursor, max_files=max_files, max_bytes=max_bytes, max_batches=max_batches
        )
        given_now.update(item for batch in found for item in batch.objects)
    assert given_now == Counter(listing)


@examples(200)
@given(listings, st.integers(1, 4), st.integers(1, 60))
def test_no_batch_exceeds_its_limits(
    listing: list[StoredObject], max_files: int, max_bytes: int
) -> None:
    found = batches(listing, max_files=max_files, max_bytes=max_bytes)
    assert all(
        len(batch.objects) <= max_files
        and (batch.size_bytes <= max_bytes or len(batch.objects) == 1)
        for batch in found
    )
