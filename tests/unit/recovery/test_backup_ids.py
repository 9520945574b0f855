"""The id of a backup says which it is, and which came first."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.recovery.backup_sets import is_id, new_id

INSTANTS = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone
    datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(INSTANTS, st.timedeltas(timedelta(microseconds=1), timedelta(seconds=1)))
def test_of_two_backups_within_a_second_the_later_has_the_greater_id(
    first: datetime, later: timedelta
) -> None:
    assert new_id(first) < new_id(first + later)


@given(INSTANTS)
def test_every_id_is_one(now: datetime) -> None:
    assert is_id(new_id(now))


def test_backups_of_the_same_instant_differ() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert len({new_id(now) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-02T01-00-00Z-3fa9c1", True),  # of an older version
        ("2026-11-02T01-00-00-204518Z-3fa9c1", True),
        ("2026-11-02T01-00-00-20Z-3fa9c1", False),
        ("./2026-11-02T01-00-00Z-3fa9c1", False),
    ],
)
def test_a_folder_is_told_from_an_id(text: str, expected: bool) -> None:
    assert is_id(text) is expected
