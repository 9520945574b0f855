"""When an old figure was served, by the loads of its month, and what the policy asks for (B-4)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline_platform.advisory_performance.restatements import Materiality
from pipeline_platform.advisory_performance.seen_figures import (
    Remedy,
    Served,
    remedy,
    served_span,
)
from pipeline_platform.warehouse.figure_reads import ServedLoad

POLICY = Materiality(return_bps=10, notify=("compliance",), reissue_times_limit=2)
SERVED = Served(True, None, None)


def at(hour: int) -> datetime:
    return datetime(2026, 3, 3, hour, tzinfo=UTC)


def load(hour: int, gold: int | None) -> ServedLoad:
    return ServedLoad(at(hour), None if gold is None else at(gold))


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        pytest.param([load(3, 2), load(6, 5)], Served(True, at(3), at(6)), id="until the next"),
        pytest.param([load(3, 2), load(4, 2), load(6, 5)], Served(True, at(3), at(6)), id="again"),
        pytest.param([load(3, 2)], Served(True, at(3), None), id="still served"),
        pytest.param([load(6, 5)], Served(False, None, None), id="corrected before it was served"),
        pytest.param([], Served(False, None, None), id="not served yet"),
        pytest.param([load(3, None), load(6, 5)], Served(True, None, at(6)), id="begin unknown"),
        pytest.param([load(7, None)], Served(None, None, at(7)), id="all before the records"),
        pytest.param(
            [load(1, None), load(3, 2), load(6, 5)], Served(True, at(3), at(6)), id="after them"
        ),
    ],
)
def test_a_figure_is_served_between_the_loads_that_hold_it(
    loads: list[ServedLoad], expected: Served
) -> None:
    assert served_span(at(2), at(5), loads) == expected


def test_a_figure_that_gold_never_held_was_never_served() -> None:
    assert served_span(None, at(5), [load(6, 5)]) == Served(False, None, None)


@pytest.mark.parametrize(
    ("difference", "is_material", "served", "expected"),
    [
        (Decimal(9), False, SERVED, Remedy((), False)),
        (Decimal(19), True, SERVED, Remedy(("compliance",), False)),
        (Decimal(-20), True, SERVED, Remedy(("compliance",), True)),
        (None, True, SERVED, Remedy(("compliance",), True)),
        (Decimal(20), True, Served(False, None, None), Remedy((), False)),
        (Decimal(20), True, Served(None, None, None), Remedy(("compliance",), True)),
    ],
)
def test_the_policy_says_who_is_told_and_what_is_issued_again(
    difference: Decimal | None, is_material: bool, served: Served, expected: Remedy
) -> None:
    assert remedy("net_return_daily", difference, is_material, served, POLICY) == expected
