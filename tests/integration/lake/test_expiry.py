"""Old snapshots are forgotten, but none that somebody reads, names or relies on."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake import expiry
from pipeline_platform.lake.dbt_runs import start_dbt_run
from pipeline_platform.lake.expiry import expire, plan_expiry, snapshot_as_of
from pipeline_platform.lake.lake import Lake

DAY = timedelta(days=1)


@pytest.fixture
def now():
    """An instant by which everything that was just published is two days old."""
    return datetime.now(UTC) + 2 * DAY


@pytest.fixture
def five(publish):
    """Five publications of one month."""
    return [publish(run_id=f"run-{number}", count=number + 1) for number in range(5)]


@pytest.fixture
def forget(lake, balances, now):
    """Expire; return what is remembered."""

    def run(**changed):
        given = {"kept_for": DAY, "kept_count": 1, "now": now, "unfinished_runs": ()}
        expire(lake, balances, run_id="m", **(given | changed))
        return [one.snapshot_id for one in lake.snapshots(balances)]

    return run


def identities(publications):
    return [one.snapshot_id for one in publications]


def test_only_the_current_snapshot_is_left(five, forget):
    assert forget() == identities(five[4:])


def test_the_rows_stay(lake, balances, five, forget, content):
    before = content(lake, balances)
    forget()
    assert content(lake, balances) == before


def test_so_many_are_kept_however_old(five, forget):
    assert forget(kept_count=3) == identities(five[2:])


def test_of_too_many_the_oldest_go_after_a_day(five, forget):
    assert forget(kept_for=3 * DAY, kept_most=2) == identities(five[3:])


def test_too_many_stay_for_a_day(five, forget):
    hours = timedelta(hours=23)
    now = datetime.now(UTC) + hours
    assert forget(kept_for=3 * DAY, kept_most=2, now=now) == identities(five)


def test_young_ones_are_kept_however_many(five, forget):
    assert forget(kept_for=3 * DAY) == identities(five)


def test_age_counts_from_when_readers_stopped_to_see_it(lake, balances, publish, now):
    first = publish(run_id="run-0")
    instant = first.committed_at
    publish(run_id="run-1")
    table = lake.iceberg(balances)
    log = table.history()
    superseded = datetime.fromtimestamp(log[1].timestamp_ms / 1000, UTC)
    at_the_limit = plan_expiry(
        lake, balances, kept_for=DAY, kept_count=1, now=superseded + DAY, unfinished_runs=()
    )
    after_it = plan_expiry(
        lake,
        balances,
        kept_for=DAY,
        kept_count=1,
        now=superseded + DAY + timedelta(milliseconds=1),
        unfinished_runs=(),
    )
    assert instant < superseded
    assert (at_the_limit[0].kept_because is None, after_it[0].kept_because is None) == (False, True)


def test_a_tagged_one_is_kept(lake, balances, five, forget):
    lake.iceberg(balances).manage_snapshots().create_tag(five[1].snapshot_id, "audit").commit()
    assert forget() == identities([five[1], five[4]])


def test_the_head_of_a_branch_is_kept(lake, balances, five, forget):
    lake.iceberg(balances).manage_snapshots().create_branch(five[2].snapshot_id, "try").commit()
    assert forget() == identities([five[2], five[4]])


def test_one_of_an_unfinished_run_is_kept(five, forget):
    assert forget(unfinished_runs={"run-3"}) == identities(five[3:])


@pytest.fixture
def pinned(lake, balances, publish):
    """A dbt run that was given the first of two snapshots."""
    first = publish(run_id="run-0")
    run = start_dbt_run(lake, run_id="dbt", partition="p", sources=[(balances, None)])
    return run, [first, publish(run_id="run-1")]


def test_one_that_a_dbt_run_reads_is_kept(pinned, forget):
    assert forget() == identities(pinned[1])


def test_one_that_a_dbt_run_has_read_is_not(pinned, forget):
    shutil.rmtree(pinned[0].folder)
    assert forget() == identities(pinned[1][1:])


def test_a_tag_made_after_the_plan_keeps_its_snapshot(
    lake, settings, database_url, balances, five, forget, monkeypatch
):
    judge = expiry._judged
    tagged = []

    def judged_before_a_tag(*arguments, **named):
        found = judge(*arguments, **named)
        if not tagged:
            tagged.append(five[0].snapshot_id)
            other = Lake.open(settings, database_url).iceberg(balances)
            other.manage_snapshots().create_tag(five[0].snapshot_id, "late").commit()
        return found

    monkeypatch.setattr(expiry, "_judged", judged_before_a_tag)
    assert forget() == identities([five[0], five[4]])
    assert "late" in lake.iceberg(balances).refs()


def test_a_plan_changes_nothing(lake, balances, five, now):
    location = lake.iceberg(balances).metadata_location
    plan_expiry(lake, balances, kept_for=DAY, kept_count=1, now=now, unfinished_runs=())
    assert lake.iceberg(balances).metadata_location == location


def test_with_nothing_to_forget_nothing_is_committed(lake, balances, publish, forget):
    publish()
    location = lake.iceberg(balances).metadata_location
    forget()
    assert lake.iceberg(balances).metadata_location == location


def test_an_append_is_not_repeated_while_its_run_may_be(lake, balances, append, forget, now):
    for number in range(4):
        append(run_id=f"run-{number}")
    forget(unfinished_runs={"run-1"})
    append(run_id="run-1")
    assert sum(lake.partitions(balances).values()) == 12


def test_the_snapshot_of_an_instant_is_the_one_that_readers_saw(lake, balances, five):
    table = lake.iceberg(balances)
    at = table.snapshot_by_id(five[2].snapshot_id).timestamp_ms / 1000
    assert snapshot_as_of(table, datetime.fromtimestamp(at, UTC)) == five[2].snapshot_id


def test_an_instant_before_the_oldest_snapshot_is_refused(lake, balances, five, forget):
    forget()
    with pytest.raises(NotFoundError, match="from a backup"):
        snapshot_as_of(lake.iceberg(balances), five[0].committed_at)
