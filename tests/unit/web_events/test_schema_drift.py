"""What counts as a change of the records' shape: new, vanished and retyped keys (SW-16)."""

import pytest

from pipeline_platform.web_events.schema_drift import Shape, drift


def shape(records: int = 1000, **counts: dict[str, int]) -> Shape:
    return Shape(records, counts)


USUAL = shape(id={"text": 1000}, value={"number": 300})


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (USUAL, []),
        (shape(id={"text": 1000}), ["key value vanished"]),
        (shape(id={"number": 1000}, value={"number": 300}), ["key id is number, was text"]),
        (
            shape(id={"text": 990, "number": 10}, value={"number": 300}),
            ["key id is number, was text"],
        ),
        (shape(id={"text": 1000}, value={"number": 300}, plan={"text": 10}), ["key plan is new"]),
        (shape(id={"text": 1000}, value={"number": 300}, plan={"text": 9}), []),
        (shape(20, id={"text": 20}), []),
        (
            shape(id={"text": 1000}, value={"number": 1}, a={"text": 5}, b={"text": 5}),
            ["2 rare keys are new"],
        ),
    ],
    ids=["same", "vanished", "retyped", "retyped in part", "new", "rare", "few", "many rare"],
)
def test_a_change_is_told(day: Shape, expected: list[str]) -> None:
    assert drift(day, [USUAL, USUAL], least_share=0.01) == expected


def test_a_key_that_one_day_before_lacked_has_not_vanished() -> None:
    assert drift(shape(id={"text": 1000}), [USUAL, shape(id={"text": 9})], least_share=0.01) == []


def test_numbers_are_numbers_and_null_is_nothing() -> None:
    found = Shape.of(3, [("v", "UBIGINT", 1), ("v", "DOUBLE", 1), ("v", "NULL", 1)])
    assert found.counts == {"v": {"number": 2}}
