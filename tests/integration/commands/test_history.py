"""`partition-status`, `runs` and `check` over a processed platform and over an empty one."""

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from pipeline_platform.advisory_performance.tables import VALUATIONS, VENDOR_ROWS
from pipeline_platform.commands.history import parse_recent_day
from pipeline_platform.run_context import utc_now
from tests.integration.commands.conftest import Processed, Shell, own_platform

WORKFLOW = "advisory_performance_etl_workflow"
VALUATIONS_KEY = "advisory_performance/silver/valuations"
DAY = "2026-03-03"
MONTH = date(2026, 3, 1)
Rows = dict[str, dict[str, Any]]


def status(shell: Shell, day: str) -> Rows:
    rows = shell.json("partition-status", "advisory", day)
    return {row["asset"].removeprefix("advisory_performance/"): row for row in rows}


@pytest.fixture(scope="module")
def march(processed: Processed) -> Rows:
    return status(processed.shell, DAY)


@pytest.fixture(scope="module")
def before_all(processed: Processed) -> Rows:
    """A month that nothing was delivered for."""
    return status(processed.shell, "2025-01-15")


@pytest.fixture(scope="module")
def runs(processed: Processed, march: Rows) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = processed.shell.json("runs", "--asset", VALUATIONS_KEY)
    return found


@pytest.fixture(scope="module")
def checked(processed: Processed, march: Rows, runs: object) -> tuple[datetime, Rows]:
    """What `check` said of March, and since when."""
    since = utc_now()
    rows = processed.shell.json("check", "advisory", "--partition", DAY)
    return since, {row["check"]: row for row in rows}


@pytest.fixture(scope="module")
def unfilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Rows]:
    """Exit code and rows of `check` on an empty platform."""
    with own_platform(tmp_path_factory.mktemp("unfilled")) as shell:
        result = shell("check", "advisory", "--json")
    return result.exit_code, {row["check"]: row for row in json.loads(result.stdout)}


def test_a_processed_month_is_there_as_a_whole(march: Rows) -> None:
    states = {row["state"] for name, row in march.items() if name.startswith(("silver", "gold"))}
    assert states == {"done"}


def test_rows_that_a_command_wrote_are_present(march: Rows, processed: Processed) -> None:
    with processed.shell.services() as services:
        present = services.lake.partitions(VENDOR_ROWS)
    row = march["bronze/vendor_rows"]
    assert (row["state"], row["run"], row["rows"]) == ("present", None, present[MONTH])


def test_what_waits_was_never_observed_by_a_command(march: Rows) -> None:
    assert march["landing/incoming"]["state"] == "never observed"


def test_a_complete_month_is_no_fault(processed: Processed, march: Rows) -> None:
    failed = sum(row["fail"] for row in march.values())
    assert processed.shell("partition-status", "advisory", DAY).exit_code == min(failed, 1)


def test_a_day_is_answered_by_the_partition_that_holds_it(march: Rows) -> None:
    assert march["silver/valuations"]["partition"] == str(MONTH)


def test_rows_are_those_of_the_partition_alone(processed: Processed, march: Rows) -> None:
    with processed.shell.services() as services:
        present = services.lake.partitions(VALUATIONS)
    assert march["silver/valuations"]["rows"] == present[MONTH] < sum(present.values())


def test_the_run_that_made_it_is_named(march: Rows, runs: list[dict[str, Any]]) -> None:
    assert march["silver/valuations"]["run"] in {one["run"] for one in runs}


def test_checks_are_counted_by_outcome(march: Rows) -> None:
    row = march["silver/valuations"]
    assert (row["pass"] > 5, row["not evaluated"]) == (True, 0)


def test_a_month_that_was_never_processed_is_missing(before_all: Rows) -> None:
    assert before_all["gold/reconciliation"]["state"] == "missing"


def test_a_missing_partition_is_a_fault(processed: Processed) -> None:
    assert processed.shell("partition-status", "advisory", "2025-01-15").exit_code == 1


def test_checks_of_another_month_say_nothing_of_this_one(before_all: Rows) -> None:
    row = before_all["gold/reconciliation"]
    assert (row["pass"], row["fail"]) == (0, 0)


@pytest.mark.parametrize(
    "arguments", [("advisory", "2054-01-01"), ("advisory", "someday"), ("weather", "yesterday")]
)
def test_what_does_not_exist_is_wrong_use(processed: Processed, arguments: tuple[str, str]) -> None:
    assert processed.shell("partition-status", *arguments).exit_code == 2


def test_yesterday_is_a_day() -> None:
    assert parse_recent_day("yesterday") == utc_now().date() - timedelta(days=1)


def test_runs_of_an_asset_are_those_that_made_it(runs: list[dict[str, Any]]) -> None:
    assert {one["job"] for one in runs} == {WORKFLOW}


def test_a_run_tells_the_months_that_it_covered(runs: list[dict[str, Any]]) -> None:
    assert runs[-1]["partitions"].endswith(f"to {MONTH}")


def test_runs_are_listed_newest_first(processed: Processed, checked: object) -> None:
    started = [one["started (UTC)"] for one in processed.shell.json("runs", "--limit", "10")]
    assert (started, len(started) > 1) == (sorted(started, reverse=True), True)


def test_no_more_runs_than_asked_for_are_listed(processed: Processed, checked: object) -> None:
    found = processed.shell.json("runs", "--pipeline", "advisory", "--limit", "1")
    assert [one["job"] for one in found] == ["advisory_performance_checks"]


def test_runs_of_another_pipeline_are_left_out(processed: Processed, march: Rows) -> None:
    assert processed.shell.json("runs", "--pipeline", "operations") == []


def test_an_unknown_asset_is_wrong_use(processed: Processed) -> None:
    assert processed.shell("runs", "--asset", "advisory_performance/gold/weather").exit_code == 2


def test_check_evaluates_now_what_can_be_evaluated_alone(checked: tuple[datetime, Rows]) -> None:
    since, rows = checked
    fresh = {
        name
        for name, row in rows.items()
        if row["evaluated (UTC)"] and datetime.fromisoformat(row["evaluated (UTC)"]) > since
    }
    assert {"data_quality_score", "reconciliation_pass_rate", "oldest_file_in_processing"} <= fresh


@pytest.mark.parametrize("name", ["recoverable_point", "cost_anomaly"])
def test_check_evaluates_what_the_runbook_states_of_shared_assets(
    checked: tuple[datetime, Rows], name: str
) -> None:
    since, rows = checked
    evaluated = rows[f"advisory_performance_{name}"]["evaluated (UTC)"]
    assert datetime.fromisoformat(evaluated) > since


def test_check_leaves_out_what_another_runbook_states_of_shared_assets(
    checked: tuple[datetime, Rows],
) -> None:
    assert "web_events_unsaved_tables" not in checked[1]


def test_check_shows_how_publications_were_judged(checked: tuple[datetime, Rows]) -> None:
    since, rows = checked
    found = rows["conservation"]
    is_earlier = datetime.fromisoformat(found["evaluated (UTC)"]) < since
    assert (found["outcome"], is_earlier) == ("pass", True)


def test_check_shows_how_marts_were_tested_when_they_were_built(
    checked: tuple[datetime, Rows],
) -> None:
    since, rows = checked
    found = rows["account_performance_is_unique"]
    is_earlier = datetime.fromisoformat(found["evaluated (UTC)"]) < since
    assert (found["outcome"], is_earlier) == ("pass", True)


def test_no_step_of_check_fails(processed: Processed, checked: object) -> None:
    (run,) = processed.shell.json("runs", "--pipeline", "advisory", "--limit", "1")
    assert (run["job"], run["status"]) == ("advisory_performance_checks", "SUCCESS")


def test_check_materializes_nothing(
    processed: Processed, march: Rows, checked: tuple[datetime, Rows]
) -> None:
    after = status(processed.shell, DAY)
    made = [{name: (row["run"], row["at (UTC)"]) for name, row in rows.items()}
            for rows in (march, after)]  # fmt: skip
    assert made[0] == made[1]


def test_a_failing_check_is_a_fault(unfilled: tuple[int, Rows]) -> None:
    exit_code, rows = unfilled
    failing = {name for name, row in rows.items() if row["outcome"] == "fail"}
    assert (exit_code, "months_made_ahead" in failing) == (1, True)


def test_what_needs_data_passes_nothing_without_it(unfilled: tuple[int, Rows]) -> None:
    assert unfilled[1]["reconciliation_pass_rate"]["outcome"] == "not measurable"


def test_a_check_that_was_never_part_of_a_publication_says_so(unfilled: tuple[int, Rows]) -> None:
    assert unfilled[1]["conservation"]["outcome"] == "not evaluated"
