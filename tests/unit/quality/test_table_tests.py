"""Tests that are queries find faults in whatever rows they are given."""

from collections.abc import Iterator

import duckdb
import pytest

from pipeline_platform.quality.table_tests import TableTests

TESTS = TableTests(
    judged=("main", "totals"),
    relations={
        ("shop_silver", "sales"): "SELECT 3 AS amount UNION ALL SELECT 4",
        ("main", "totals"): "SELECT 7 AS amount",
    },
    queries={
        "is_given": 'SELECT * FROM "memory"."main"."totals" WHERE amount IS NULL',
        "adds_up": "SELECT amount FROM totals"
        " WHERE amount <> (SELECT sum(amount) FROM shop_silver.sales)",
        "can_be_run": "SELECT 1 FROM totals WHERE CAST(amount AS UTINYINT) > 255",
    },
)


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        TESTS.open(connection)
        yield connection


@pytest.mark.parametrize(
    ("rows", "failed"),
    [
        ("SELECT 7 AS amount", []),
        ("SELECT NULL::INTEGER AS amount", ["is_given"]),
        ("SELECT 8 AS amount", ["adds_up"]),
        ("SELECT -1 AS amount", ["adds_up", "can_be_run"]),
    ],
)
def test_tests_fail_that_find_a_fault_or_can_not_be_run(engine, rows, failed) -> None:
    assert list(TESTS.failed(engine, rows, [*TESTS.queries])) == failed


def test_only_the_named_tests_are_asked(engine) -> None:
    assert list(TESTS.failed(engine, "SELECT 8 AS amount", ["is_given"])) == []


def test_without_tests_nothing_is_asked(engine) -> None:
    assert list(TableTests().failed(engine, "SELECT 1 AS amount", [])) == []
