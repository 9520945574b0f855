"""`partition-status`, `runs` and `check` over a processed platform and over an empty one."""

from datetime import date, timedelta

import pytest

from pipeline_platform.advisory_performance.tables import VALUATIONS
from pipeline_platform.commands.history import parse_recent_day
from pipeline_platform.run_context import utc_now
from tests.integration.commands.conftest import Processed, Shell

WORKFLOW = "advisory_performance_etl_workflow"
DAY = "2026-03-03"
MONTH = date(2026, 3, 1)


def status(processed: Processed, day: str = DAY) -> dict[str, dict[str, object]]:
    rows = processed.shell.json("partition-status", "advisory", day)
    return {row["asset"].removeprefix("advisory_performance/"): row for row in rows}


def test_a_processed_month_is_there_as_a_whole(processed: Processed) -> None:
    states = {name: row["state"] for name, row in status(processed).items()}
    assert {state for name, state in states.items() if name != "landing/incoming"} == {"done"}


def test_a_day_is_answered_by_the_partition_that_holds_it(processed: Processed) -> None:
    assert status(processed)["silver/valuations"]["partition"] == str(MONTH)


def test_rows_are_those_of_the_partition_alone(processed: Processed) -> None:
    with processed.shell.services() as services:
        present = services.lake.partitions(VALUATIONS)
    assert status(processed)["silver/valuations"]["rows"] == present[MONTH] < sum(present.values())


def test_the_run_that_made_it_is_named(processed: Processed) -> None:
    runs = processed.shell.json("runs", "--asset", "advisory_performance/silver/valuations")
    assert status(processed)["silver/valuations"]["run"] in {one["run"] for one in runs}


def test_checks_are_counted_by_outcome(processed: Processed) -> None:
    row = status(processed)["silver/valuations"]
    assert (row["pass"] > 5, row["not evaluated"]) == (True, 0)


def test_a_month_that_was_never_processed_is_missing(processed: Processed) -> None:
    assert status(processed, "2025-01-15")["gold/reconciliation"]["state"] == "missing"


def test_a_missing_partition_is_a_fault(processed: Processed) -> None:
    assert processed.shell("partition-status", "advisory", "2025-01-15").exit_code == 1


def test_checks_of_another_month_say_nothing_of_this_one(processed: Processed) -> None:
    row = status(processed, "2025-01-15")["gold/reconciliation"]
    assert (row["pass"], row["fail"]) == (0, 0)


@pytest.mark.parametrize(
    "arguments", [("advisory", "2054-01-01"), ("advisory", "someday"), ("weather", "yesterday")]
)
def test_what_does_not_exist_is_wrong_use(processed: Processed, arguments: tuple[str, str]) -> None:
    assert processed.shell("partition-status", *arguments).exit_code == 2


def test_yesterday_is_a_day() -> None:
    assert parse_recent_day("yesterday") == utc_now().date() - timedelta(days=1)


def test_runs_are_listed_newest_first(processed: Processed) -> None:
    started = [one["started (UTC)"] for one in processed.shell.json("runs", "--limit", "10")]
    assert started == sorted(started, reverse=True)


def test_runs_of_an_asset_are_those_that_made_it(processed: Processed) -> None:
    found = processed.shell.json("runs", "--asset", "advisory_performance/gold/reconciliation")
    assert {one["job"] for one in found} == {WORKFLOW}


def test_a_run_tells_the_months_that_it_covered(processed: Processed) -> None:
    found = processed.shell.json("runs", "--asset", "advisory_performance/gold/reconciliation")
    assert found[-1]["partitions"].endswith(f"to {MONTH}")


def test_runs_of_another_pipeline_are_left_out(processed: Processed) -> None:
    assert processed.shell.json("runs", "--pipeline", "operations") == []


def test_no_more_runs_than_asked_for_are_listed(processed: Processed) -> None:
    processed.shell("check", "advisory")
    assert len(processed.shell.json("runs", "--pipeline", "advisory", "--limit", "1")) == 1


def test_an_unknown_asset_is_wrong_use(processed: Processed) -> None:
    assert processed.shell("runs", "--asset", "advisory_performance/gold/weather").exit_code == 2


def test_check_evaluates_now_what_can_be_evaluated_alone(processed: Processed) -> None:
    before = utc_now()
    rows = processed.shell.json("check", "advisory", "--partition", DAY)
    fresh = {row["check"] for row in rows if row["evaluated (UTC)"] > before.isoformat()}
    assert {"data_quality_score", "reconciliation_pass_rate", "oldest_file_in_processing"} <= fresh


def test_check_shows_how_publications_were_judged(processed: Processed) -> None:
    rows = processed.shell.json("check", "advisory", "--partition", DAY)
    outcomes = {row["check"]: row["outcome"] for row in rows}
    assert outcomes["conservation"] == "pass"


def test_check_materializes_nothing(processed: Processed) -> None:
    before = status(processed)
    processed.shell("check", "advisory")
    assert {name: row["run"] for name, row in status(processed).items()} == {
        name: row["run"] for name, row in before.items()
    }


def test_a_failing_check_is_a_fault(shell: Shell) -> None:
    rows = shell.json("check", "advisory")
    failing = {row["check"] for row in rows if row["outcome"] == "fail"}
    assert (shell("check", "advisory").exit_code, failing) == (1, {"months_made_ahead"})


def test_checks_of_an_empty_platform_pass_nothing_that_needs_data(shell: Shell) -> None:
    rows = shell.json("check", "advisory")
    outcomes = {row["check"]: row["outcome"] for row in rows}
    assert outcomes["reconciliation_pass_rate"] == "not measurable"


def test_a_check_that_was_never_part_of_a_publication_says_so(shell: Shell) -> None:
    rows = shell.json("check", "advisory")
    outcomes = {row["check"]: row["outcome"] for row in rows}
    assert outcomes["conservation"] == "not evaluated"
