"""Concurrent publications: none is lost, none blocks for ever."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from pipeline_platform.failures import ConflictError
from pipeline_platform.lake import lake as lake_module
from pipeline_platform.lake.data_files import describe_file
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import PropertyChange
from pipeline_platform.lake.staging import Staged


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
    """A lake before each of whose commits another engine, which takes no turns, commits."""
    rival = Lake.open(settings, database_url)
    commit = lake_module.publications.commit_files
    rivals = iter(range(100))

    def commit_late(table, **arguments):
        staged = stage(rival, settings, balances, "2026-11-01", f"rival-{next(rivals)}")
        theirs = rival.iceberg(balances)
        added = [describe_file(theirs, balances, path) for path in staged.files]
        commit(theirs, removed=[], added=added, properties={})
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


def change(expected, value):
    return PropertyChange("stream_positions.clicks", expected, value)


def test_a_property_is_set_in_the_commit_of_the_rows(lake, settings, balances):
    staged = stage(lake, settings, balances, "2026-10-01", "run-1")
    lake.publish(staged, replace=None, properties={}, change=change(None, "7"))
    assert lake.property(balances, "stream_positions.clicks") == "7"


def test_a_property_moves_without_any_rows(lake, balances):
    lake.ensure(balances)
    empty = Staged(balances, (), 0, "run-1", "no rows")
    lake.publish(empty, replace=None, properties={}, change=change(None, "7"))
    assert lake.property(balances, "stream_positions.clicks") == "7"


def test_who_starts_from_another_value_publishes_nothing(lake, settings, balances):
    staged = stage(lake, settings, balances, "2026-10-01", "run-1")
    lake.publish(staged, replace=None, properties={}, change=change(None, "7"))
    late = stage(lake, settings, balances, "2026-11-01", "run-2")
    with pytest.raises(ConflictError, match="start again from its present value"):
        lake.publish(late, replace=None, properties={}, change=change(None, "9"))
    assert lake.partitions(balances) == {date(2026, 10, 1): 2}


def test_of_many_who_start_from_the_same_value_one_publishes(settings, database_url, balances):
    Lake.open(settings, database_url).ensure(balances)

    def write(number):
        own = Lake.open(settings, database_url)
        staged = stage(own, settings, balances, "2026-10-01", f"run-{number}")
        try:
            own.publish(staged, replace=None, properties={}, change=change(None, str(number)))
        except ConflictError:
            return None
        return str(number)

    with ThreadPoolExecutor(4) as pool:
        winners = [number for number in pool.map(write, range(8)) if number is not None]
    found = Lake.open(settings, database_url)
    assert found.partitions(balances) == {date(2026, 10, 1): 2}
    assert winners == [found.property(balances, "stream_positions.clicks")]


@pytest.fixture
def beaten_once(lake, settings, database_url, balances, monkeypatch):
    """Let a rival do something between a writer's last look at the table and its commit."""
    rival = Lake.open(settings, database_url)
    commit_table = SqlCatalog.commit_table

    def run(act):
        rivals = iter([act])

        def commit_late(self, *arguments):
            for one in rivals:
                one(rival)
            return commit_table(self, *arguments)

        monkeypatch.setattr(SqlCatalog, "commit_table", commit_late)
        staged = stage(lake, settings, balances, "2026-10-01", "slow")
        lake.publish(staged, replace=None, properties={}, change=change(None, "9"))

    return run


@pytest.mark.usefixtures("nobody_waits_for_a_turn")
def test_a_property_that_moved_without_rows_just_before_the_commit_is_seen(
    lake, balances, beaten_once
):
    """PyIceberg would repeat a lost append by itself, on metadata that nobody has looked at."""

    def move_only(rival):
        empty = Staged(balances, (), 0, "fast", "no rows")
        rival.publish(empty, replace=None, properties={}, change=change(None, "7"))

    with pytest.raises(ConflictError, match="start again from its present value"):
        beaten_once(move_only)
    assert (lake.partitions(balances), lake.property(balances, "stream_positions.clicks")) == (
        {},
        "7",
    )


@pytest.mark.usefixtures("nobody_waits_for_a_turn")
def test_a_commit_that_leaves_the_property_alone_is_no_conflict(
    lake, settings, balances, beaten_once
):
    """Files that arrive, or a compaction, beside a stream."""

    def add_rows(rival):
        staged = stage(rival, settings, balances, "2026-11-01", "fast")
        rival.publish(staged, replace=None, properties={})

    beaten_once(add_rows)
    assert lake.partitions(balances) == {date(2026, 10, 1): 2, date(2026, 11, 1): 2}
