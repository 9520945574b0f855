"""Findings become faults: what turns red, what turns green, and what is never counted twice."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.operations.faults import ALL_DAYS, Days, Finding, after, union, without
from tests.unit.operations.broken_things import PIPELINE, finding

FIRST = date(2026, 11, 1)
KEY = (PIPELINE, "check:a")


def span(first: int, end: int) -> Days:
    return ((FIRST + timedelta(days=first), FIRST + timedelta(days=end)),)


def members(days: Days) -> set[date]:
    return {
        first + timedelta(days=n) for first, end in days for n in range((end - first).days)
    }  # fmt: skip


spans = st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda s: span(s[0], s[0] + s[1]))
many = st.lists(spans, max_size=5).map(lambda parts: union((), tuple(p for s in parts for p in s)))
findings = st.lists(
    st.tuples(st.booleans(), spans | st.just(ALL_DAYS)), min_size=1, max_size=12
).map(
    lambda seen: [
        finding(is_fine=is_fine, event_id=number, days=days, minute=number)
        for number, (is_fine, days) in enumerate(seen, start=1)
    ]
)


@given(many, many)
def test_a_union_has_the_days_of_both(one: Days, other: Days) -> None:
    assert members(union(one, other)) == members(one) | members(other)


@given(many, many)
def test_what_is_left_has_the_days_that_did_not_go(one: Days, gone: Days) -> None:
    assert members(without(one, gone)) == members(one) - members(gone)


@given(findings)
def test_the_days_that_are_red_are_those_that_failed_and_did_not_pass_later(
    seen: Sequence[Finding],
) -> None:
    red: set[date] | None = set()
    for one in seen:
        if one.is_fine:
            red = set() if red is None or one.days == ALL_DAYS else red - members(one.days)
        elif one.days == ALL_DAYS or red is None:
            red = None
        else:
            red |= members(one.days)
    fault = after({}, seen).get(KEY)
    found = set() if fault is None or fault.state == "GREEN" else fault.days
    expected = ALL_DAYS if red is None else red
    assert (found if found in (set(), ALL_DAYS) else members(found)) == expected


@given(findings, st.data())
def test_what_is_read_again_changes_nothing(seen: list[Finding], data: st.DataObject) -> None:
    once = after({}, seen)
    again = seen[data.draw(st.integers(0, len(seen))) :]
    assert after(once, again) == once


@given(findings, st.data())
def test_reading_in_parts_ends_where_reading_at_once_does(
    seen: list[Finding], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(seen)))
    assert after(after({}, seen[:cut]), seen[cut:]) == after({}, seen)


def test_a_fault_began_with_its_first_failure() -> None:
    faults = after({}, [finding(event_id=1, minute=1), finding(event_id=2, minute=9)])
    assert faults[KEY].began_at == finding(minute=1).at


def test_what_breaks_again_began_again() -> None:
    seen = [finding(event_id=1), finding(is_fine=True, event_id=2), finding(event_id=3, minute=7)]
    assert after({}, seen)[KEY].began_at == finding(minute=7).at


@pytest.mark.parametrize(("event_id", "state"), [(None, "DISMISSED"), (9, "RED")])
def test_what_was_set_aside_is_red_again_only_when_it_was_tried_again(
    event_id: int | None, state: str
) -> None:
    broken = after({}, [finding(event_id=1)])[KEY]
    set_aside = type(broken)(**{**broken.__dict__, "state": "DISMISSED"})
    assert after({KEY: set_aside}, [finding(event_id=event_id)])[KEY].state == state


def test_what_never_failed_is_not_remembered() -> None:
    assert after({}, [finding(is_fine=True, event_id=1)]) == {}
