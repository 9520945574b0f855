"""Published tables judged anew, by either engine."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.commands.conftest import Processed, Shell

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("table", ["valuations", "external_flows", "reported_returns"])
def test_both_engines_say_the_same_of_a_published_table(processed: Processed, table: str) -> None:
    opinions = [
        processed.shell.json("quality", "audit", table, "--engine", engine)
        for engine in ("duckdb", "great-expectations")
    ]
    assert opinions[0] == opinions[1]


def test_one_partition_has_fewer_rows_than_all(processed: Processed) -> None:
    def row_count(*arguments: str) -> int:
        found = processed.shell.json("quality", "audit", "valuations", *arguments)
        [counted] = [one["observed"] for one in found if one["rule"] == "months_are_not_empty"]
        return int(counted)

    assert 0 < row_count("--partition", "2026-02") < row_count()


def test_a_broken_rule_is_told_by_the_exit_code(shell: Shell) -> None:
    result = shell("quality", "audit", "valuations", "--json")
    failed = [one["rule"] for one in json.loads(result.stdout) if one["outcome"] == "fail"]
    assert (result.exit_code, failed) == (1, ["months_are_not_empty"])


def test_a_table_without_a_contract_is_wrong_use(shell: Shell) -> None:
    assert shell("quality", "audit", "nothing").exit_code == 2


def test_without_a_table_each_published_one_with_a_contract_is_judged(
    processed: Processed,
) -> None:
    result = processed.shell("quality", "audit", "--engine", "great-expectations", "--json")
    found = json.loads(result.stdout)
    assert {one["table"] for one in found} == {
        f"advisory_performance/{name}"
        for name in ("valuations", "external_flows", "reported_returns")
    }
    assert result.exit_code == int(any(one["outcome"] == "fail" for one in found))


def test_where_nothing_is_published_there_is_nothing_to_judge(shell: Shell) -> None:
    assert "nothing is published" in shell("quality", "audit").output


def test_the_make_target_of_the_runbook_judges_all_by_great_expectations() -> None:
    """SP-27."""
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", "contracts.validate"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()[-1]  # fmt: skip
    assert told.endswith("pipeline-platform quality audit --engine great-expectations")
