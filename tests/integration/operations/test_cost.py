"""Cost from the Cost Explorer over HTTP to PostgreSQL and a verdict; never a pass without it."""

import logging
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.failures import BadInputError, InvalidSettingError, UnavailableError
from pipeline_platform.operations.cost_explorer import daily_costs
from pipeline_platform.operations.cost_readings import (
    last_reading,
    read_costs,
    stored_costs,
)
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.quality.measurements import Measurement, Verdict, judge
from pipeline_platform.services import Services
from pipeline_platform.web_events import run_context as web_events
from tests.integration.operations.local_costs import LocalCosts, judged, results_by_time, steady

NOW = datetime(2026, 3, 20, 8, 0, tzinfo=UTC)
YESTERDAY = date(2026, 3, 19)
PLAN = operations_plan().cost
SETTLED = NOW.date() - timedelta(days=PLAN.settled_after_days)
USUAL = {"AmazonS3": "10.00", "AWSGlue": "90.00"}


def usual() -> dict[date, dict[str, str]]:
    """Hundred a day over the whole span of a reading."""
    return steady(YESTERDAY, PLAN.read_days, **USUAL)


def read(services: Services, costs: LocalCosts, told, *, now: datetime = NOW) -> None:
    costs.forget()
    costs.answer(results_by_time(told))
    assert read_costs(services, now, "run").is_read


def anomaly(services: Services, now: datetime = NOW) -> Verdict:
    return judged(load_runbook(), services, "cost_anomaly", now)[1]


def increase(services: Services, now: datetime = NOW) -> Measurement:
    return judged(web_events.load_runbook(), services, "cost_increase", now)[0]


def test_amounts_come_as_the_source_gives_them(services, costs) -> None:
    costs.answer(results_by_time({YESTERDAY: {"AmazonS3": "0.0101516483"}}))
    (day,) = daily_costs(services.settings, YESTERDAY, NOW.date())
    assert (day.services, day.currency) == ({"AmazonS3": Decimal("0.0101516483")}, "USD")


def test_all_pages_are_asked_for(services, costs) -> None:
    first, second = YESTERDAY - timedelta(days=1), YESTERDAY
    costs.answer(
        results_by_time({first: {"A": "1"}, second: {"A": "2"}}),
        results_by_time({second: {"B": "3"}}),
    )
    found = daily_costs(services.settings, first, NOW.date())
    assert [day.total for day in found] == [1, 5]


def test_an_answer_without_the_days_is_refused(services, costs) -> None:
    with pytest.raises(BadInputError, match="without 1 of 1 days"):
        daily_costs(services.settings, YESTERDAY, NOW.date())


def test_a_second_currency_is_refused(services, costs) -> None:
    told = {YESTERDAY: {"A": "1"}}
    costs.answer([*results_by_time(told), *results_by_time(told, currency="CNY")])
    with pytest.raises(BadInputError, match="CNY, USD"):
        daily_costs(services.settings, YESTERDAY, NOW.date())


def test_without_a_source_nothing_is_asked(settings) -> None:
    with pytest.raises(InvalidSettingError, match="PLATFORM_COST_SOURCE"):
        daily_costs(settings, YESTERDAY, NOW.date())


def test_missing_credentials_are_named_as_such(services, costs, monkeypatch, tmp_path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(InvalidSettingError, match="needs AWS credentials and found none"):
        daily_costs(services.settings, YESTERDAY, NOW.date())


def test_refused_credentials_are_no_passing_fault(services, costs) -> None:
    costs.refuse_unknown_credentials()
    with pytest.raises(InvalidSettingError, match="ce:GetCostAndUsage"):
        daily_costs(services.settings, YESTERDAY, NOW.date())


def test_a_source_that_does_not_answer_may_answer_later(services, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_COST_EXPLORER", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(UnavailableError, match="can't be reached"):
        daily_costs(services.settings, YESTERDAY, NOW.date())


def test_credentials_reach_neither_log_nor_reading(services, costs, monkeypatch, caplog) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "AKIAPLANTED", "AWS_SECRET_ACCESS_KEY": "planted/secret"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    costs.refuse_unknown_credentials()
    with caplog.at_level(logging.INFO):
        reading = read_costs(services, NOW, "run")
    assert [value for value in secrets.values() if value in f"{reading} {caplog.text}"] == []


def test_a_reading_keeps_every_day_and_service(services, costs) -> None:
    read(services, costs, usual())
    with services.database.connection() as connection:
        days = stored_costs(connection, date(2026, 1, 1), YESTERDAY)
    amounts = {name: Decimal(amount) for name, amount in USUAL.items()}
    assert [day.services for day in days] == [amounts] * PLAN.read_days


def test_reading_twice_changes_nothing(services, costs) -> None:
    found = []
    for _ in range(2):
        read(services, costs, usual())
        with services.database.connection() as connection:
            found.append(stored_costs(connection, date(2026, 1, 1), YESTERDAY))
    assert found[0] == found[1]


def test_a_later_reading_corrects_a_day_and_drops_a_service(services, costs) -> None:
    read(services, costs, usual())
    read(services, costs, {**usual(), SETTLED: {"AWSGlue": "95.00"}})
    with services.database.connection() as connection:
        (day,) = stored_costs(connection, SETTLED, SETTLED)
    assert day.services == {"AWSGlue": Decimal(95)}


def test_a_failed_reading_leaves_the_known_days(services, costs) -> None:
    read(services, costs, usual())
    costs.forget()
    read_costs(services, NOW + timedelta(hours=1))
    with services.database.connection() as connection:
        assert len(stored_costs(connection, date(2026, 1, 1), YESTERDAY)) == PLAN.read_days


@pytest.mark.parametrize(
    ("amount", "outcome"), [("130.00", "pass"), ("130.01", "fail"), ("5.00", "pass")]
)
def test_an_anomaly_is_forty_percent_above_the_usual_day(services, costs, amount, outcome) -> None:
    read(services, costs, {**usual(), SETTLED: {**USUAL, "AWSGlue": amount}})
    assert anomaly(services).outcome == outcome


def test_one_dear_day_does_not_hide_the_next(services, costs) -> None:
    dear = {**USUAL, "AWSGlue": "900.00"}
    before = SETTLED - timedelta(days=1)
    read(services, costs, {**usual(), before: dear, SETTLED: dear})
    assert anomaly(services).outcome == "fail"


def test_an_increase_is_measured_against_the_day_before(services, costs) -> None:
    read(services, costs, {**usual(), SETTLED: {**USUAL, "AWSGlue": "110.00"}})
    assert increase(services).value == pytest.approx(20)


@pytest.mark.parametrize(("amount", "outcome"), [("110.00", "pass"), ("110.01", "fail")])
def test_an_increase_beyond_twenty_percent_is_told_within_a_day(
    services, costs, amount, outcome
) -> None:
    read(services, costs, {**usual(), SETTLED: {**USUAL, "AWSGlue": amount}})
    threshold = web_events.load_runbook().thresholds["cost_increase"]
    verdict = judge(increase(services), threshold)
    expected = ("warning", 1440) if outcome == "fail" else (None, None)
    assert (verdict.outcome, (verdict.severity, verdict.response_minutes)) == (outcome, expected)


def test_an_increase_names_the_services_that_rose(services, costs) -> None:
    told = {**usual(), SETTLED: {"AmazonS3": "15.00", "AWSGlue": "80.00", "AmazonSNS": "40.00"}}
    read(services, costs, told)
    assert increase(services).offenders == ("AmazonSNS +40.00 USD", "AmazonS3 +5.00 USD")


def test_a_day_that_was_read_too_early_is_not_judged(services, costs) -> None:
    """Yesterday looks cheap, and dear the day after it would be: both are not final."""
    read(services, costs, {**usual(), YESTERDAY: {"AWSGlue": "900.00"}})
    assert anomaly(services).outcome == "pass"


def test_the_day_is_judged_once_it_was_read_late_enough(services, costs) -> None:
    read(services, costs, usual())
    two_days_later = NOW + timedelta(days=2)
    last = YESTERDAY + timedelta(days=2)
    told = {**steady(last, PLAN.read_days, **USUAL), NOW.date(): {"AWSGlue": "900.00"}}
    read(services, costs, told, now=two_days_later)
    assert anomaly(services, two_days_later).outcome == "fail"


def test_after_a_credit_there_is_nothing_to_compare_with(services, costs) -> None:
    told = {**usual(), SETTLED - timedelta(days=1): {"AWSGlue": "-5.00"}}
    read(services, costs, told)
    assert "nothing was charged" in (increase(services).not_measurable_reason or "")


@pytest.mark.parametrize("late", [timedelta(hours=20), timedelta(days=1, hours=1)])
def test_a_reading_of_yesterday_is_late_enough(services, costs, late) -> None:
    read(services, costs, usual())
    assert anomaly(services, NOW + late).outcome == "pass"


def test_two_days_without_a_reading_are_not_measurable(services, costs) -> None:
    read(services, costs, usual())
    verdict = anomaly(services, NOW + timedelta(days=2))
    assert (verdict.outcome, "last read at 2026-03-20" in verdict.sentence) == (
        "not_measurable",
        True,
    )


def test_from_a_refusal_on_nothing_is_measurable(services, costs) -> None:
    read(services, costs, usual())
    costs.refuse_unknown_credentials()
    read_costs(services, NOW + timedelta(hours=1))
    verdict = anomaly(services, NOW + timedelta(hours=2))
    assert (verdict.outcome, "refused" in verdict.sentence) == ("not_measurable", True)


def test_without_a_source_known_cost_is_not_measurable(settings, services, costs) -> None:
    read(services, costs, usual())
    with Services(settings) as unpaid:
        verdict = anomaly(unpaid)
    assert (verdict.outcome, "no source of cost" in verdict.sentence) == ("not_measurable", True)


def test_too_short_a_history_is_not_measurable(services, costs, monkeypatch) -> None:
    read(services, costs, usual())
    with services.database.transaction() as connection:
        first = SETTLED - timedelta(days=13)
        connection.execute("DELETE FROM daily_cost WHERE usage_date < %s", (first,))
    assert anomaly(services).outcome == "not_measurable"


def test_a_failed_reading_says_why(settings) -> None:
    with Services(settings) as services:
        read_costs(services, NOW)
        with services.database.connection() as connection:
            reading = last_reading(connection)
    assert reading is not None
    assert "PLATFORM_COST_SOURCE" in (reading.reason or "")
