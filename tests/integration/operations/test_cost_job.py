"""The cost job as Dagster runs it: one observation, and every rule's verdict on it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from pipeline_platform.operations.assets import DAILY_COST
from pipeline_platform.operations.automation import cost_job
from pipeline_platform.operations.plan import operations_plan
from tests.assets.platform_runs import Platform, running
from tests.integration.operations.local_costs import LocalCosts, results_by_time, steady

DAYS = operations_plan().cost.read_days


def observed(platform: Platform) -> dict[str, Any]:
    """Run the job and return what the latest observation says."""
    assert platform.run(cost_job.name).success
    (record,) = platform.instance.fetch_observations(DAILY_COST, limit=1).records
    return {name: one.value for name, one in record.asset_observation.metadata.items()}


def verdicts(platform: Platform) -> dict[str, tuple[bool, str, dg.AssetCheckSeverity]]:
    """Run the job and return passed, outcome and severity of each rule."""
    return {
        one.check_name: (one.passed, str(one.metadata["outcome"].value), one.severity)
        for one in platform.run(cost_job.name).get_asset_check_evaluations()
    }


def tell_usual_cost(costs: LocalCosts) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    costs.answer(results_by_time(steady(yesterday, DAYS, AmazonS3="10.00", AWSGlue="90.00")))


def test_without_a_source_the_observation_says_so(settings) -> None:
    with running(settings) as platform:
        found = observed(platform)
    assert (found["outcome"], "PLATFORM_COST_SOURCE" in found["reason"]) == ("not measurable", True)


def test_without_a_source_no_rule_passes(settings) -> None:
    with running(settings) as platform:
        found = verdicts(platform)
    assert set(found.values()) == {(False, "not measurable", dg.AssetCheckSeverity.WARN)}


def test_a_refusal_is_an_observation_and_no_rule_passes(paid, costs) -> None:
    costs.refuse_unknown_credentials()
    with running(paid) as platform:
        found = verdicts(platform)
    assert {outcome for _, outcome, _ in found.values()} == {"not measurable"}


def test_the_observation_tells_the_cost_of_the_latest_settled_day(paid, costs) -> None:
    tell_usual_cost(costs)
    with running(paid) as platform:
        found = observed(platform)
    assert (found["outcome"], found["cost"], found["currency"]) == ("read", 100.0, "USD")


def test_usual_cost_passes_every_rule(paid, costs) -> None:
    tell_usual_cost(costs)
    with running(paid) as platform:
        found = verdicts(platform)
    assert {outcome for _, outcome, _ in found.values()} == {"pass"}


def test_nothing_is_ever_materialized(paid, costs) -> None:
    tell_usual_cost(costs)
    with running(paid) as platform:
        platform.run(cost_job.name)
        assert platform.instance.get_latest_materialization_event(DAILY_COST) is None
