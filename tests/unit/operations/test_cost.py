"""Arithmetic of cost: answers read in any order and pages, days compared."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import BadInputError
from pipeline_platform.operations.cost import (
    DayCost,
    against_day_before,
    against_history,
    day_costs,
    month_cost,
    settled,
)
from tests.integration.operations.local_costs import results_by_time

FIRST = date(2026, 3, 1)
amounts = st.decimals(min_value=-1000, max_value=10_000, places=4)
days_of_services = st.lists(
    st.dictionaries(st.sampled_from(["AmazonS3", "AWSGlue", "AmazonRDS"]), amounts),
    min_size=1,
    max_size=40,
)


def day(number: int, **services: str) -> DayCost:
    costs = {name: Decimal(amount) for name, amount in services.items()}
    return DayCost(FIRST + timedelta(days=number), costs, "USD")


@given(days_of_services, st.randoms(use_true_random=False))
def test_an_answer_is_read_whole_in_any_order(told, chance) -> None:
    costs = {
        FIRST + timedelta(days=number): {name: str(amount) for name, amount in services.items()}
        for number, services in enumerate(told)
    }
    results = results_by_time(costs)
    chance.shuffle(results)
    found = day_costs(results, FIRST, FIRST + timedelta(days=len(told)))
    assert [one.services for one in found] == told


@given(st.lists(amounts, min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_earlier_days_changes_no_anomaly(costs, chance) -> None:
    last = day(len(costs), A=str(costs[-1]))
    history = [day(number, A=str(cost)) for number, cost in enumerate(costs[:-1])]
    before = against_history([*history, last], 60)
    chance.shuffle(history)
    assert against_history([*history, last], 60) == before


@given(st.decimals(min_value="0.01", max_value=10_000, places=2), st.integers(-99, 500))
def test_a_change_is_its_share_of_the_day_before(cost, change) -> None:
    after = cost * (100 + change) / 100
    found = against_day_before([day(0, A=str(cost)), day(1, A=str(after))])
    assert found is not None
    assert found.change_pct == pytest.approx(change)


@given(st.lists(amounts, min_size=1, max_size=31), st.integers(1, 31), st.data())
def test_a_month_is_the_sum_of_its_days_in_any_order(costs, settled_days, data) -> None:
    last = FIRST + timedelta(days=min(settled_days, len(costs)) - 1)
    before = [day(-number, A="7", B="1") for number in range(1, 10)]
    days = [*before, *(day(number, A=str(cost)) for number, cost in enumerate(costs))]
    found = month_cost(data.draw(st.permutations(days)), last, "A")
    assert (found.to_date, found.known_days) == (sum(costs), len(costs))


def test_a_forecast_needs_a_week() -> None:
    six = [day(number, A="1") for number in range(6)]
    assert month_cost(six, six[-1].usage_date, "A").forecast is None
    assert month_cost([*six, day(6, A="1")], day(6).usage_date, "A").forecast == 31


@pytest.mark.parametrize(("amount", "forecast"), [("90", 120), ("1", 31), ("0", 31)])
def test_a_day_that_is_not_settled_is_no_trend_and_no_less_than_usual(amount, forecast) -> None:
    week = [day(number, A="1") for number in range(7)]
    found = month_cost([*week, day(7, A=amount)], week[-1].usage_date, "A")
    assert found.forecast == forecast


def test_a_day_without_services_cost_nothing() -> None:
    (found,) = day_costs(results_by_time({FIRST: {}}), FIRST, FIRST + timedelta(days=1))
    assert (found.total, found.currency) == (0, None)


@pytest.mark.parametrize("wrong", ["", "much", None])
def test_what_is_no_amount_is_refused(wrong) -> None:
    results = results_by_time({FIRST: {"AmazonS3": wrong}})
    with pytest.raises(BadInputError, match="holds a service without"):
        day_costs(results, FIRST, FIRST + timedelta(days=1))


def test_a_gap_is_not_the_day_before() -> None:
    assert against_day_before([day(0, A="1"), day(2, A="1")]) is None


def test_one_day_alone_has_no_history() -> None:
    assert against_history([day(0, A="1")], 30) is None


def test_days_beyond_the_history_do_not_count() -> None:
    found = against_history([day(0, A="1"), day(31, A="10"), day(40, A="10")], 30)
    assert found is not None
    assert (found.base, found.sample_size) == (10, 1)


def test_a_day_is_settled_once_it_was_read_late_enough() -> None:
    read_at = datetime(2026, 3, 3, 8, tzinfo=UTC)
    days = [DayCost(FIRST + timedelta(days=number), read_at=read_at) for number in range(3)]
    assert [one.usage_date for one in settled(days, 2)] == [FIRST]
