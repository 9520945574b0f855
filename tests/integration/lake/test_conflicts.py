"""Concurrent publications: none is lost, none blocks for ever."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from pipeline_platform.failures import ConflictError
from pipeline_platform.lake import lake as lake_module
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake


def stage(lake, settings, table, month, run_id, count=2):
    with connect(settings, threads=1) as con:
        rows = con.sql(
            f"""SELECT 'a' || i AS account_id, DATE '{month}' AS as_of_month, 1 AS amount,
            NULL AS growth, NULL AS weight, NULL AS decimals, NULL AS is_current, NULL AS index,
            'f' AS file_sha256, TIMESTAMPTZ '2026-11-02 07:00:00+00' AS known_from
            FROM range({count}) r(i)"""
        )
        return lake.stage(table, rows, run_id=run_id, partition=month)


def test_writers_of_different_months_all_succeed(settings, database_url, balances):
    months = [f"2026-{number:02}-01" for number in range(1, 9)]
    Lake.open(settings, database_url).ensure(balances)

    def write(month):
        own = Lake.open(settings, database_url)
        staged = stage(own, settings, balances, month, f"run-{month}")
        own.publish(staged, replace=f"as_of_month == '{month}'", properties={})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, months))
    found = Lake.open(settings, database_url).partitions(balances)
    assert found == {date.fromisoformat(month): 2 for month in months}


def test_writers_of_one_month_leave_the_rows_of_exactly_one(settings, database_url, balances):
    Lake.open(settings, database_url).ensure(balances)

    def write(number):
        own = Lake.open(settings, database_url)
        staged = stage(own, settings, balances, "2026-10-01", f"run-{number}", count=number)
        own.publish(staged, replace="as_of_month == '2026-10-01'", properties={})

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, (3, 4, 5)))
    (count,) = Lake.open(settings, database_url).partitions(balances).values()
    assert count in {3, 4, 5}


@pytest.fixture
def losing_lake(lake, settings, database_url, balances, monkeypatch):
    """A lake before each of whose commits another writer commits to the same table."""
    rival = Lake.open(settings, database_url)
    commit = lake_module.publications.commit_files
    rivals = iter(range(100))

    def commit_late(table, **arguments):
        if arguments["properties"]["run_id"] == "slow":
            number = next(rivals)
            staged = stage(rival, settings, balances, "2026-11-01", f"rival-{number}")
            rival.publish(staged, replace=None, properties={})
        return commit(table, **arguments)

    monkeypatch.setattr(lake_module.publications, "commit_files", commit_late)
    monkeypatch.setattr(lake_module, "FIRST_WAIT_SECONDS", 0)
    return lake


def test_a_writer_that_always_loses_gives_up(losing_lake, settings, balances):
    staged = stage(losing_lake, settings, balances, "2026-10-01", "slow")
    with pytest.raises(ConflictError, match="6 times"):
        losing_lake.publish(staged, replace="as_of_month == '2026-10-01'", properties={})


def test_a_writer_that_gave_up_has_published_nothing(losing_lake, settings, balances):
    staged = stage(losing_lake, settings, balances, "2026-10-01", "slow")
    with pytest.raises(ConflictError):
        losing_lake.publish(staged, replace="as_of_month == '2026-10-01'", properties={})
    assert date(2026, 10, 1) not in losing_lake.partitions(balances)
