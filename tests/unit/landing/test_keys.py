"""Which names are used as they are, and what stands for the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.landing.keys import (
    MAX_NAME_BYTES,
    UnsafeNameError,
    base_name,
    check_claimable,
    check_key,
    printable,
    safe_name,
    unclaimable_reason,
    unsafe_reason,
)

any_text = st.text(st.characters(exclude_categories=()), max_size=300)


@pytest.mark.parametrize(
    "key", ["a.csv", "vendor/a.csv", "...", "über.csv", "a b", "x#1", "%2e%2e"]
)
def test_an_ordinary_key_is_claimable(key: str) -> None:
    assert unclaimable_reason(key) is None


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\nb", "a\0b", "\x85", "\u2028", "\ud800"]
)
def test_a_key_that_could_leave_or_break_something_is_unsafe(key: str) -> None:
    assert unsafe_reason(key) is not None


@pytest.mark.parametrize("key", ["a\u202eb", "\u2066a"])
def test_a_key_that_is_shown_in_another_order_is_unsafe(key: str) -> None:
    assert unsafe_reason(key) is not None


def test_a_name_at_the_limit_is_claimable() -> None:
    assert unclaimable_reason("é" * (MAX_NAME_BYTES // 2)) is None


def test_a_name_over_the_limit_is_not_claimable() -> None:
    assert unclaimable_reason("é" * (MAX_NAME_BYTES // 2) + "x") is not None


def test_a_name_of_a_reason_is_not_claimable() -> None:
    with pytest.raises(UnsafeNameError, match="reason"):
        check_claimable("x.reason.txt")


def test_a_name_of_a_reason_may_be_read() -> None:
    assert check_key("quarantine/x.reason.txt") is None


def test_the_error_names_key_and_cause() -> None:
    with pytest.raises(UnsafeNameError, match=r'"a\\nb".*U\+000A'):
        check_key("a\nb")


@given(any_text)
def test_a_safe_name_is_always_claimable(key: str) -> None:
    assert unclaimable_reason(safe_name(key)) is None


@given(any_text)
def test_a_safe_name_is_one_part_of_ascii(key: str) -> None:
    assert safe_name(key).isascii()
    assert "/" not in safe_name(key)


@given(any_text, any_text)
def test_two_keys_never_share_a_safe_name(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


@given(any_text)
def test_a_printable_key_is_one_line_of_ascii(key: str) -> None:
    assert printable(key).isascii()
    assert printable(key).isprintable()


@given(any_text)
def test_a_claimable_key_has_no_part_that_leads_elsewhere(key: str) -> None:
    is_claimable = unclaimable_reason(key) is None
    assert not is_claimable or not {"", ".", ".."} & set(key.split("/"))


def test_the_base_name_is_the_last_part() -> None:
    assert base_name("vendor/2026/daily.csv") == "daily.csv"
