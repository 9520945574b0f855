"""`cost`: by day, month and service, and what it says where cost is not known."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.operations.plan import operations_plan
from tests.integration.commands.conftest import Shell
from tests.integration.operations.local_costs import LocalCosts, results_by_time, steady

DAYS = operations_plan().cost.read_days


@pytest.fixture
def shell(tmp_path, database_url) -> Shell:
    return Shell(tmp_path / "home", database_url)


@pytest.fixture
def told(costs: LocalCosts, monkeypatch: pytest.MonkeyPatch) -> LocalCosts:
    """A configured source that tells S3 10 and Glue 90 dollars for each day."""
    monkeypatch.setenv("PLATFORM_COST_SOURCE", "cost_explorer")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    costs.answer(results_by_time(steady(yesterday, DAYS, AmazonS3="10.00", AWSGlue="90.00")))
    return costs


def test_json_has_a_row_for_each_day_and_service(shell, told) -> None:
    rows = json.loads(shell("cost", "--refresh", "--days", "30", "--json").stdout)
    assert (len(rows), sum(float(row["cost"]) for row in rows)) == (60, 3000)


def test_known_cost_is_no_fault(shell, told) -> None:
    assert shell("cost", "--refresh").exit_code == 0


def test_people_see_days_and_services(shell, told) -> None:
    shown = shell("cost", "--refresh").stdout
    assert ("Cost by day" in shown, "AWSGlue" in shown, "3000.00" in shown) == (True, True, False)


def test_months_add_up_to_the_same(shell, told) -> None:
    rows = json.loads(shell("cost", "--refresh", "--monthly", "--json").stdout)
    assert sum(float(row["cost"]) for row in rows) == 3000


def test_days_that_are_not_known_are_a_fault(shell, told) -> None:
    result = shell("cost", "--refresh", "--days", str(DAYS + 5))
    assert (result.exit_code, f"{DAYS} of {DAYS + 5} days are known" in result.stderr) == (1, True)


def test_before_the_first_reading_it_says_how_to_read(shell, told) -> None:
    result = shell("cost")
    assert (result.exit_code, "No cost was ever read" in result.stderr) == (2, True)


def test_without_a_source_it_says_so(shell) -> None:
    result = shell("cost", "--refresh")
    assert (result.exit_code, "Cost source not configured" in result.stderr) == (1, True)


def test_a_refusal_is_told_beside_what_is_known(shell, told) -> None:
    shell("cost", "--refresh")
    told.refuse_unknown_credentials()
    result = shell("cost", "--refresh", "--json")
    is_told = "Cost is not measurable now: The Cost Explorer refused" in " ".join(
        result.stderr.split()
    )
    assert (result.exit_code, is_told, len(json.loads(result.stdout))) == (1, True, 60)
