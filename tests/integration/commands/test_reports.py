"""`reports` and `passport` over a processed platform."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.commands.control_reports import conservation
from pipeline_platform.operations.latest_checks import coverage, latest_checks
from tests.integration.commands.conftest import Processed, Shell

RUNBOOK = load_runbook()


def served(processed: Processed) -> dict[str, Any]:
    """Return the passport of an account-day that a later file corrected."""
    shell = processed.shell
    corrected = shell.json("reports", "restatements", "--limit", "500")
    values = [one for one in corrected if one["measure"] == "market_value"]
    first = values[0]
    found: dict[str, Any] = shell.json("passport", first["account_id"], first["as_of_date"])
    return found


def test_a_passport_leads_from_the_served_row_to_its_line(processed: Processed) -> None:
    found = served(processed)
    source = next(one for one in found["lines"] if one["is_source"])
    assert source["file_sha256"] == found["served"]["source_file_sha256"]


def test_a_passport_names_the_snapshot_of_gold(processed: Processed) -> None:
    found = served(processed)
    assert found["gold"]["run_id"] == found["served"]["run_id"]


def test_a_passport_holds_every_version_of_a_corrected_value(processed: Processed) -> None:
    versions = [one for one in served(processed)["versions"] if one["table"] == "valuations"]
    assert len(versions) == 2


def test_a_passport_is_readable(processed: Processed) -> None:
    found = served(processed)
    result = processed.shell("passport", found["account_id"], found["as_of_date"])
    assert (result.exit_code, "Delivered lines" in result.stdout) == (0, True)


@pytest.mark.parametrize("arguments", [("nobody", "2026-01-05"), ("nobody", "someday")])
def test_a_passport_of_nothing_is_wrong_use(
    processed: Processed, arguments: tuple[str, str]
) -> None:
    assert processed.shell("passport", *arguments).exit_code == 2


def test_issues_are_counted_by_day_and_severity(processed: Processed) -> None:
    found = processed.shell.json("reports", "issues")
    assert {"issue_date", "severity", "issue_count"} <= set(found[0])


def test_issues_are_counted_by_type(processed: Processed) -> None:
    found = processed.shell.json("reports", "issues", "--by", "type")
    assert {"record", "file"} <= {one["issue_type"] for one in found}


def test_a_file_is_listed_with_the_hash_by_which_commands_know_it(processed: Processed) -> None:
    listed = {one["file_sha256"] for one in processed.shell.json("reports", "files")}
    with processed.shell.services() as services, services.database.connection() as connection:
        known = connection.execute("SELECT file_sha256 FROM etl_processing_log").fetchall()
    assert listed == {sha256 for (sha256,) in known}


def test_partitions_are_listed_largest_first(processed: Processed) -> None:
    sizes = [one["total_bytes"] for one in processed.shell.json("reports", "partitions")]
    assert sizes == sorted(sizes, reverse=True)


def test_the_reconciliation_can_be_narrowed_to_breaches(processed: Processed) -> None:
    found = processed.shell.json("reports", "reconciliation", "--status", "BREACH")
    assert {one["status"] for one in found} == {"BREACH"}


def test_the_reconciliation_can_be_narrowed_to_vendor_and_days(processed: Processed) -> None:
    found = processed.shell.json(
        "reports", "reconciliation", "--vendor", "harbor", "--from", "2026-02-02", "--to",
        "2026-02-03",
    )  # fmt: skip
    assert {(one["vendor"], one["as_of_date"]) for one in found} == {
        ("harbor", "2026-02-02"),
        ("harbor", "2026-02-03"),
    }


def test_the_whole_reconciliation_can_be_written_as_csv(
    processed: Processed, tmp_path: Path
) -> None:
    processed.shell("reports", "reconciliation", "--csv", str(tmp_path / "all.csv"))
    with (tmp_path / "all.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 100


def test_what_was_known_before_a_correction_is_told(processed: Processed) -> None:
    found = served(processed)
    known = [one for one in found["versions"] if one["table"] == "valuations"]
    first = min(datetime.fromisoformat(one["known_from"]) for one in known)
    rows = processed.shell.json(
        "reports", "as-known", found["account_id"], found["as_of_date"], "--at", first.isoformat()
    )
    value = next(one for one in rows if one["figure"] == "market_value")
    assert value["changed"] == "yes"


def test_nothing_was_known_before_the_first_file(processed: Processed) -> None:
    found = served(processed)
    early = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    rows = processed.shell.json(
        "reports", "as-known", found["account_id"], found["as_of_date"], "--at", early
    )
    assert {one["known then"] for one in rows} == {None}


def test_as_known_of_an_unknown_account_is_wrong_use(processed: Processed) -> None:
    result = processed.shell("reports", "as-known", "x' OR 1=1", "2026-01-05", "--at", "2026-01-05")
    assert result.exit_code == 2


def test_checks_show_the_latest_outcome_of_each_once(processed: Processed) -> None:
    found = processed.shell.json("reports", "checks")
    keys = [(one["check"], one["asset"]) for one in found]
    assert len(keys) == len(set(keys)) > 5


def test_a_balanced_ledger_is_fine(processed: Processed) -> None:
    assert processed.shell("reports", "ledger").exit_code == 0


def test_records_lost_between_the_hops_are_found(processed: Processed) -> None:
    with processed.shell.services() as services, services.database.connection() as connection:
        connection.execute(
            "UPDATE conservation_ledger SET arrived = arrived - 1, published = published - 1"
            " WHERE ctid = (SELECT min(ctid) FROM conservation_ledger"
            " WHERE hop = 'bronze_to_silver' AND published > 0)"
        )
        found = conservation(connection, "advisory_performance")
        connection.rollback()
    assert sum(one["lost before"] for one in found) == 1


def test_a_file_that_waits_for_its_month_is_not_lost(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "standard_1.csv"
    path.write_text(
        "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
        "reported_period,currency\nA,2026-01-05,1.00,,,,,USD\n"
    )
    shell("landing", "put", str(path))
    shell("landing", "ingest")
    found = shell.json("reports", "ledger")
    assert [one["months that wait"] for one in found] == [0, 1]


@pytest.mark.parametrize(
    "report",
    ["files", "issues", "partitions", "checks", "ledger", "reconciliation", "restatements"],
)
def test_a_report_over_nothing_is_no_error(shell: Shell, report: str) -> None:
    assert shell("reports", report).exit_code == 0


def test_a_database_that_does_not_answer_asks_to_try_later(shell: Shell) -> None:
    shell.database_url = "postgresql://nobody@127.0.0.1:1/nothing"
    assert shell("reports", "files").exit_code == 75


def test_errors_are_counted_by_time(processed: Processed) -> None:
    found = processed.shell.json("reports", "errors", "--since", "2h", "--bin", "5m")
    held = processed.shell.json("quarantine", "list", "--kind", "rows", "--limit", "1000")
    assert len(found) in (24, 25)
    assert sum(one["quarantined rows"] for one in found) == len(held) > 0


@pytest.mark.parametrize("option", [("--bin", "never"), ("--bin", "0m"), ("--since", "-2h")])
def test_a_length_of_time_that_is_none_is_wrong_use(shell: Shell, option: tuple[str, str]) -> None:
    assert shell("reports", "errors", *option).exit_code == 2


def test_more_bins_than_anybody_reads_are_wrong_use(shell: Shell) -> None:
    assert shell("reports", "errors", "--since", "90d", "--bin", "1s").exit_code == 2


NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
INTERVAL = timedelta(minutes=RUNBOOK.rulings.checks_expected_every_minutes)


def checks_after(database_url: str, outcome: str, age: timedelta) -> dict[str, dict[str, Any]]:
    """Return the checks by name after one of them ended so long ago."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO check_observations (observed_at, pipeline, check_name, asset_key, outcome)"
            " VALUES (%s, %s, 'conservation', 'a', %s)",
            (NOW - age, RUNBOOK.pipeline, outcome),
        )
        found = latest_checks(connection, RUNBOOK, NOW)
    return {one["check"]: one for one in found}


@pytest.mark.parametrize("outcome", ["pass", "fail", "not_measurable"])
def test_a_check_that_was_evaluated_in_time_is_what_it_said(
    database_url: str, outcome: str
) -> None:
    found = checks_after(database_url, outcome, INTERVAL)
    assert found["conservation"]["outcome"] == outcome


@pytest.mark.parametrize("outcome", ["pass", "fail", "not_measurable"])
def test_a_check_that_nobody_evaluated_in_time_is_overdue(database_url: str, outcome: str) -> None:
    found = checks_after(database_url, outcome, INTERVAL + timedelta(seconds=1))
    assert found["conservation"]["outcome"] == "overdue"
    assert outcome.replace("_", " ") in found["conservation"]["reason"]


def test_a_check_that_was_never_evaluated_is_overdue(database_url: str) -> None:
    found = checks_after(database_url, "pass", timedelta(0))
    assert found.keys() == RUNBOOK.thresholds.keys()
    assert {one["outcome"] for name, one in found.items() if name != "conservation"} == {"overdue"}


def test_overdue_and_not_measurable_checks_are_not_covered(database_url: str) -> None:
    found = checks_after(database_url, "pass", timedelta(0))
    assert coverage(list(found.values())) == (1, len(RUNBOOK.thresholds))
    assert coverage([{"outcome": "not_measurable"}, {"outcome": "fail"}]) == (1, 2)
