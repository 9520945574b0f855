"""What a contract file may say, and how it is run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline_platform.failures import BadInputError, InvalidRunbookError
from pipeline_platform.quality.contracts import Contract, row_rules
from pipeline_platform.quality.validation import validate
from tests.unit.quality.silver_rows import CONTRACTS, FOLDER, NOW, TABLES, as_table, good_rows

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Change], Path]:
    """Write the contract of valuations with a change to its first expectation."""

    def write(change: Change) -> Path:
        document = yaml.safe_load((FOLDER / "valuations.yaml").read_text())
        change(document["expectations"][0])
        path = tmp_path / "valuations.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


REFUSED: dict[str, tuple[Change, str]] = {
    "a row rule about the whole table": (
        lambda e: e.update(type="expect_table_row_count_to_be_between"),
        "judges a whole table",
    ),
    "a row rule that only mostly holds": (
        lambda e: e["kwargs"].update(mostly=0.5),
        "can't use mostly",
    ),
    "a row rule that does not block": (
        lambda e: e["meta"].update(is_blocking=False),
        "critical and blocking",
    ),
    "a blocking warning": (
        lambda e: e["meta"].update(is_row_rule=False, severity="warning"),
        "only a critical rule may block",
    ),
    "an open regular expression": (
        lambda e: e.update(
            type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": "^a"}
        ),
        r"end with \$",
    ),
    "a class of characters that engines read differently": (
        lambda e: e.update(
            type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": r"^\d$"}
        ),
        "only in brackets",
    ),
    "a dot": (
        lambda e: e.update(
            type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": "^a.b$"}
        ),
        "only in brackets",
    ),
    "a look-ahead": (
        lambda e: e.update(
            type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": "^(?=a)a$"}
        ),
        "plain groups",
    ),
    "alternatives outside of a group": (
        lambda e: e.update(
            type="expect_column_values_to_match_regex", kwargs={"column": "a", "regex": "^a|b$"}
        ),
        "in groups only",
    ),
    "an expectation that DuckDB can't judge": (
        lambda e: (
            e["meta"].update(is_row_rule=False),
            e.update(type="expect_column_stdev_to_be_between"),
        ),
        "is not known",
    ),
    "no limits": (
        lambda e: e.update(type="expect_column_values_to_be_between"),
        "min_value or max_value",
    ),
    "a condition of two kinds": (
        lambda e: e.update(when=[{"column": "a", "equals": 1, "is_null": True}]),
        "a condition has one column",
    ),
    "an unknown key": (lambda e: e["meta"].update(colour="red"), "colour"),
    "an unknown dimension": (lambda e: e["meta"].update(dimension="beauty"), "dimension"),
    "the rule of another": (
        lambda e: e["meta"].update(rule="currency_is_given"),
        "stands more than once",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_contract_is_refused_with(fault: str, changed: Callable[[Change], Path]) -> None:
    change, message = REFUSED[fault]
    with pytest.raises(InvalidRunbookError, match=message):
        Contract.load(changed(change))


@pytest.mark.parametrize("content", ["", "[]", "table: a", "a: [", "table: a\ntable: b\n"])
def test_a_file_that_holds_no_contract_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(content)
    with pytest.raises(InvalidRunbookError, match=r"contract\.yaml"):
        Contract.load(path)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_declares_the_columns_of_its_table(name: str) -> None:
    assert set(CONTRACTS[name].columns) == set(TABLES[name].schema.names)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_belongs_to_the_asset_of_its_table(name: str) -> None:
    assert CONTRACTS[name].asset == "/".join(TABLES[name].asset_key)


@pytest.mark.parametrize("name", CONTRACTS)
def test_row_rules_need_neither_version_nor_provenance(name: str) -> None:
    rules = [one for one in CONTRACTS[name].expectations if one.is_row_rule]
    columns = {column for rule in rules for column in rule.columns}
    absent = {"known_to", "known_from", "is_current", "file_sha256", "line_number", "vendor"}
    assert columns & absent == set()


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_row_rule_says_which_column_and_why(name: str) -> None:
    reasons = [(rule.column, rule.reason) for rule in row_rules(CONTRACTS[name])]
    assert all(reason.startswith(f"{column}: ") for column, reason in reasons)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two Parquet files of good valuations."""
    folder = tmp_path_factory.mktemp("staged")
    rows = good_rows("valuations")
    parts = {"first.parquet": rows[:5], "second.parquet": rows[5:]}
    for name, part in parts.items():
        pq.write_table(as_table("valuations", part), folder / name)
    return [str(folder / name) for name in parts]


def test_several_files_are_validated_as_one_table(parquet: list[str]) -> None:
    results = validate(CONTRACTS["valuations"], parquet, now=NOW)
    assert {one.observed for one in results if one.rule == "months_are_not_empty"} == {"11"}


def test_files_table_and_relation_give_the_same_results(parquet: list[str]) -> None:
    contract = CONTRACTS["valuations"]
    with duckdb.connect() as connection:
        relation = validate(contract, connection.read_parquet(parquet), now=NOW)
    table = validate(contract, as_table("valuations", good_rows("valuations")), now=NOW)
    assert validate(contract, parquet, now=NOW) == relation == table


def test_the_same_row_in_two_files_is_not_unique(parquet: list[str]) -> None:
    results = validate(CONTRACTS["valuations"], [*parquet, parquet[1]], now=NOW)
    assert [one.rule for one in results if not one.passed] == ["current_version_is_unique"]


def test_a_rule_that_does_not_fit_its_column_is_refused() -> None:
    rows = as_table("valuations", good_rows("valuations"))
    at = rows.column_names.index("currency")
    rows = rows.set_column(at, "currency", pa.array([1] * len(rows)))
    with pytest.raises(InvalidRunbookError, match="valuations does not fit the types"):
        validate(CONTRACTS["valuations"], rows, now=NOW)


@pytest.mark.parametrize("table", CONTRACTS)
def test_a_million_rows_are_judged_under_a_small_memory_limit(table: str) -> None:
    with duckdb.connect(config={"memory_limit": "64MB", "threads": "2"}) as connection:
        connection.register("good", as_table(table, good_rows(table)[1:2]))
        replaced = "SELECT good.* REPLACE (account_id || i AS account_id)"
        many = f"{replaced} FROM good, range(1000000) AS r(i)"
        failed = [
            one
            for one in validate(CONTRACTS[table], connection.sql(many), now=NOW)
            if not one.passed
        ]
    assert failed == []


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(BadInputError, match=r"broken\.parquet"):
        validate(CONTRACTS["valuations"], [str(path)], now=NOW)


WRITES_NOTHING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.suites import run_suite
from pipeline_platform.quality.validation import validate
contract = Contract.load(Path(sys.argv[1]))
now = datetime(2026, 11, 20, tzinfo=UTC)
results = validate(contract, [sys.argv[2]], now=now)
assert "great_expectations" not in sys.modules
assert run_suite(contract, [sys.argv[2]], now=now) == results
"""


def test_only_the_second_engine_imports_and_neither_leaves_a_file_behind(
    parquet: list[str], tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "cwd")}
    for folder in folders.values():
        folder.mkdir()
    contract = str(FOLDER / "valuations.yaml")
    subprocess.run(
        [sys.executable, "-c", WRITES_NOTHING, contract, parquet[0]],
        check=True,
        cwd=folders["cwd"],
        env={
            **os.environ,
            "HOME": str(folders["HOME"]),
            "TMPDIR": str(folders["TMPDIR"]),
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert [path for folder in folders.values() for path in folder.rglob("*")] == []
