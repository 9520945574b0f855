"""A service's cost of the month against its limit and its budget, from a runbook alone (X-10)."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_platform import web_events
from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.operations.assets import daily_cost
from pipeline_platform.operations.automation import cost_job
from pipeline_platform.operations.cloudwatch_template import template
from pipeline_platform.operations.cost_checks import cost_checks
from pipeline_platform.operations.cost_readings import cost_measures, read_costs
from pipeline_platform.operations.dashboards import dashboard
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.operations.prometheus_rules import rule_file
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.operations import local_costs
from tests.integration.operations.local_costs import LocalCosts, results_by_time, steady

RULES = Path(__file__).with_name("task_insights_costs.yaml")
NOW = datetime(2026, 3, 20, 8, 0, tzinfo=UTC)
PLAN = operations_plan().cost
DYNAMODB, LAMBDA = "Amazon DynamoDB", "AWS Lambda"

Costs = dict[date, dict[str, str]]


def runbook_of(folder: Path, change: Callable[[dict[str, Any]], object] = len) -> Runbook:
    """Return a runbook of a pipeline that comes later: rules on cost, and nothing else to judge."""
    document = yaml.safe_load(Path(web_events.__file__).with_name("runbook.yaml").read_text())
    del document["mutations"]
    document |= {"pipeline": "task_insights", "thresholds": yaml.safe_load(RULES.read_text())}
    change(document["thresholds"])
    path = folder / "runbook.yaml"
    path.write_text(yaml.safe_dump(document))
    return Runbook.load(path)


@pytest.fixture
def runbook(tmp_path: Path) -> Runbook:
    return runbook_of(tmp_path)


def idle(now: datetime = NOW) -> Costs:
    """Both services are there and cost nothing, over the whole span of a reading."""
    yesterday = now.date() - timedelta(days=1)
    return steady(yesterday, PLAN.read_days, **{DYNAMODB: "0", LAMBDA: "0"})


def spent(service: str, amount: str, day: date = date(2026, 3, 5)) -> Costs:
    return {**idle(), day: {DYNAMODB: "0", LAMBDA: "0", service: amount}}


def read(services: Services, costs: LocalCosts, told: Costs, now: datetime = NOW) -> None:
    costs.forget()
    costs.answer(results_by_time(told))
    assert read_costs(services, now, "run").is_read


def judged(
    runbook: Runbook, services: Services, name: str, now: datetime = NOW
) -> tuple[Measurement, Verdict]:
    return local_costs.judged(runbook, services, name, now)


@pytest.mark.parametrize(
    ("name", "service", "amount", "severity"),
    [
        ("dynamodb_cost", DYNAMODB, "50.00", None),
        ("dynamodb_cost", DYNAMODB, "50.01", "warning"),
        ("lambda_cost", LAMBDA, "20.00", None),
        ("lambda_cost", LAMBDA, "20.01", "warning"),
        ("dynamodb_budget", DYNAMODB, "39.99", None),
        ("dynamodb_budget", DYNAMODB, "40.00", "warning"),
        ("dynamodb_budget", DYNAMODB, "49.99", "warning"),
        ("dynamodb_budget", DYNAMODB, "50.00", "critical"),
        ("lambda_budget", LAMBDA, "15.99", None),
        ("lambda_budget", LAMBDA, "16.00", "warning"),
        ("lambda_budget", LAMBDA, "20.00", "critical"),
    ],
)
def test_each_limit_is_crossed(services, costs, runbook, name, service, amount, severity) -> None:
    read(services, costs, spent(service, amount))
    _, verdict = judged(runbook, services, name)
    assert (verdict.outcome, verdict.severity) == ("fail" if severity else "pass", severity)


def test_another_services_cost_is_not_its_own(services, costs, runbook) -> None:
    read(services, costs, spent(LAMBDA, "900.00"))
    assert judged(runbook, services, "dynamodb_cost")[1].value == 0


def test_the_month_before_does_not_count(services, costs, runbook) -> None:
    read(services, costs, spent(DYNAMODB, "900.00", date(2026, 2, 28)))
    assert judged(runbook, services, "dynamodb_cost")[1].value == 0


def test_yesterday_counts_although_aws_still_adds_to_it(services, costs, runbook) -> None:
    read(services, costs, spent(DYNAMODB, "60.00", date(2026, 3, 19)))
    assert judged(runbook, services, "dynamodb_cost")[1].outcome == "fail"


@pytest.mark.parametrize(("day", "value"), [(1, 310), (2, 310), (3, 20), (4, 30)])
def test_the_old_month_is_judged_until_it_is_settled(services, costs, runbook, day, value) -> None:
    now = datetime(2026, 4, day, 8, 0, tzinfo=UTC)
    told = steady(now.date() - timedelta(days=1), PLAN.read_days, **{DYNAMODB: "10.00"})
    read(services, costs, told, now)
    assert judged(runbook, services, "dynamodb_cost", now)[1].value == value


def test_the_forecast_goes_on_as_the_last_week_did(services, costs, runbook) -> None:
    read(services, costs, steady(date(2026, 3, 19), PLAN.read_days, **{DYNAMODB: "1.50"}))
    measurement, _ = judged(runbook, services, "dynamodb_budget")
    assert measurement.parts == {"month_to_date": 28.5, "budget": 50.0, "forecast": 46.5}


def test_a_month_that_is_over_has_no_forecast(services, costs, runbook) -> None:
    now = datetime(2026, 4, 1, 8, 0, tzinfo=UTC)
    read(services, costs, idle(now), now)
    assert "forecast" not in judged(runbook, services, "dynamodb_budget", now)[0].parts


def test_it_says_whose_cost_it_is(services, costs, runbook) -> None:
    read(services, costs, steady(date(2026, 3, 19), PLAN.read_days, **{DYNAMODB: "3.00"}))
    assert judged(runbook, services, "dynamodb_cost")[0].offenders == (
        "Amazon DynamoDB in 2026-03: month to date 57.00 USD, forecast 93.00 USD",
    )


def test_a_misspelt_service_does_not_pass(services, costs, tmp_path) -> None:
    misspelt = {"service": "DynamoDB", "currency": "USD"}
    runbook = runbook_of(
        tmp_path, lambda rules: rules["dynamodb_cost"].update(monthly_cost=misspelt)
    )
    read(services, costs, idle())
    _, verdict = judged(runbook, services, "dynamodb_cost")
    assert (verdict.outcome, "AWS Lambda, Amazon DynamoDB" in verdict.sentence) == (
        "not_measurable",
        True,
    )


def test_a_bill_in_another_currency_is_not_measurable(services, costs, runbook) -> None:
    costs.answer(results_by_time(idle(), currency="CNY"))
    assert read_costs(services, NOW).is_read
    assert "told in CNY" in judged(runbook, services, "dynamodb_cost")[1].sentence


def test_before_the_first_reading_it_is_not_measurable(services, runbook) -> None:
    assert judged(runbook, services, "dynamodb_budget")[1].outcome == "not_measurable"


def test_a_month_with_a_gap_is_not_measurable(services, costs, runbook) -> None:
    read(services, costs, idle())
    with services.database.transaction() as connection:
        connection.execute("DELETE FROM daily_cost WHERE usage_date = '2026-03-01'")
    assert "from its first day on" in judged(runbook, services, "dynamodb_cost")[1].sentence


def evaluations(settings: Settings, runbook: Runbook) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the cost job of a platform that has this runbook; return each rule's evaluation."""
    with Services(settings) as services, dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions(
            assets=[daily_cost],
            asset_checks=[cost_checks(runbook)],
            jobs=[cost_job],
            resources={"services": services},
        )
        result = definitions.resolve_job_def(cost_job.name).execute_in_process(instance=instance)
    named = {one.check: name for name, one in runbook.thresholds.items()}
    return {named[one.check_name]: one for one in result.get_asset_check_evaluations()}


def test_two_pipelines_may_state_the_same_rule_on_cost(tmp_path, runbook) -> None:
    other = tmp_path / "other.yaml"
    text = (tmp_path / "runbook.yaml").read_text("utf-8")
    other.write_text(text.replace(f"pipeline: {runbook.pipeline}", "pipeline: others", 1))
    both = [cost_checks(runbook), cost_checks(Runbook.load(other))]
    keys = [key for one in both for key in one.check_keys]
    assert len(keys) == len(set(keys)) == 2 * len(runbook.thresholds)
    resources = {"services": object()}
    assert dg.Definitions(
        [daily_cost], asset_checks=both, resources=resources
    ).resolve_asset_graph()


def test_a_runbook_alone_makes_checks_of_the_cost_asset(paid, costs, runbook) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    dear = {DYNAMODB: "60.00", LAMBDA: "0.00"}
    costs.answer(results_by_time(steady(yesterday, PLAN.read_days, **dear)))
    found = evaluations(paid, runbook)["dynamodb_budget"]
    told = {name: one.value for name, one in found.metadata.items()}
    assert (found.severity, told["limit"], told["part/budget"], DYNAMODB in str(told)) == (
        dg.AssetCheckSeverity.ERROR,
        100,
        50,
        True,
    )


def test_they_are_watched_and_drawn_as_every_limit_is(runbook) -> None:
    made = (rule_file(runbook), template(runbook), dashboard(runbook))
    shown = ("dynamodb_budget", "DynamodbBudget", runbook.thresholds["dynamodb_budget"].title)
    assert [name in text for name, text in zip(shown, made, strict=True)] == [True] * 3


def test_without_a_source_none_of_them_passes(settings, runbook) -> None:
    outcomes = {
        name: one.metadata["outcome"].value for name, one in evaluations(settings, runbook).items()
    }
    assert outcomes == dict.fromkeys(runbook.thresholds, "not measurable")


def test_a_runbook_without_budgets_has_no_such_check() -> None:
    shipped = Runbook.load(Path(web_events.__file__).with_name("runbook.yaml"))
    assert list(cost_measures(shipped)) == ["cost_increase"]


def test_a_rule_that_nothing_measures_is_refused(tmp_path) -> None:
    runbook = runbook_of(tmp_path, lambda rules: rules["lambda_cost"].pop("monthly_cost"))
    with pytest.raises(InvalidRunbookError, match="Nothing measures the rule lambda_cost"):
        cost_checks(runbook)


@pytest.mark.parametrize(
    "wrong", [{"unit": "EUR"}, {"unit": "percent"}, {"stage": "gold"}, {"direction": "at_least"}]
)
def test_a_limit_in_another_unit_is_refused(tmp_path, wrong) -> None:
    with pytest.raises(InvalidRunbookError, match="direction at_most and unit USD"):
        runbook_of(tmp_path, lambda rules: rules["lambda_cost"].update(wrong))


def test_a_budget_of_nothing_is_refused(tmp_path) -> None:
    nothing = {"service": LAMBDA, "currency": "USD", "budget": 0}
    with pytest.raises(InvalidRunbookError, match="budget"):
        runbook_of(tmp_path, lambda rules: rules["lambda_budget"].update(monthly_cost=nothing))
