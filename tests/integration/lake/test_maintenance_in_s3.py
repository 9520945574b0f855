"""The same maintenance when the tables lie in an object store, over HTTP."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline_platform.lake.backup import back_up
from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.expiry import expire
from pipeline_platform.lake.orphans import (
    LeftoverRetention,
    plan_leftovers,
    plan_orphans,
    remove_leftovers,
    remove_orphans,
)
from pipeline_platform.lake.reachability import Reachability
from pipeline_platform.lake.restoration import restore_from_backup, restore_from_snapshot
from pipeline_platform.runbook import CompactionLimits
from tests.integration.lake.conftest import BUCKET

OCTOBER = date(2026, 10, 1)
DAY = timedelta(days=1)
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)


@pytest.fixture
def settings(settings_in_s3):
    """The tables of these tests are in a bucket."""
    return settings_in_s3


def keys(s3, prefix):
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {f"s3://{BUCKET}/{one['Key']}" for one in found}


def test_what_is_left_after_maintenance_is_exactly_what_is_needed(
    lake, s3, balances, append, content
):
    for number in range(3):
        append(run_id=f"run-{number}")
    before = content(lake, balances)
    later = datetime.now(UTC) + 2 * DAY
    age = {"kept_for": DAY, "now": later, "unfinished_runs": ()}
    compact(lake, balances, LIMITS, run_id="m")
    expire(lake, balances, run_id="m", kept_count=1, **age)
    plan = plan_orphans(lake, balances, **age)
    remove_orphans(lake, balances, plan, unfinished_runs=lambda: (), still_alone=lambda: None)
    left = keys(s3, f"lake/{balances.identifier[0]}/")
    assert (left, content(lake, balances)) == (
        Reachability().paths(lake.iceberg(balances)),
        before,
    )


def test_a_partition_comes_back_from_a_snapshot(lake, balances, publish, content):
    first = publish(count=5)
    before = content(lake, balances)
    publish(count=2, run_id="run-2")
    restore_from_snapshot(
        lake, balances, partition=OCTOBER, snapshot_id=first.snapshot_id, run_id="r"
    )
    assert content(lake, balances) == before


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_partition_comes_back_from_a_backup(lake, balances, publish, content, tmp_path, place):
    publish(count=5)
    before = content(lake, balances)
    folder = str(tmp_path / "backup") if place == "local" else f"s3://{BUCKET}/backups/1"
    made = back_up(lake, balances, folder, partition=OCTOBER, now=datetime.now(UTC))
    publish(count=2, run_id="run-2")
    restore_from_backup(lake, balances, made, partition=OCTOBER, run_id="r")
    assert content(lake, balances) == before


def test_old_staged_objects_are_removed(lake, s3, settings):
    s3.put_object(Bucket=BUCKET, Key="lake/staging/shop/killed-1/model.parquet", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="lake/staging/shop/alive-1/model.parquet", Body=b"x")
    kept = LeftoverRetention(temp=7 * DAY, staging=30 * DAY)
    plan = plan_leftovers(
        settings,
        "shop",
        own=kept,
        shared=kept,
        others=(),
        now=datetime.now(UTC) + 31 * DAY,
        unfinished_runs={"alive"},
    )
    remove_leftovers(settings, plan, unfinished_runs={"alive"})
    assert keys(s3, "lake/staging/") == {f"s3://{BUCKET}/lake/staging/shop/alive-1/model.parquet"}
