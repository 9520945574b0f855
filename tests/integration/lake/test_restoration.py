"""A partition becomes what it was: from an earlier snapshot, or from a backup."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_platform.failures import AuditFailedError, NotFoundError, PermanentError
from pipeline_platform.lake import restoration
from pipeline_platform.lake.backup import MANIFEST, Backup, back_up
from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.restoration import (
    Difference,
    compare_with_backup,
    compare_with_snapshot,
    restore_from_backup,
    restore_from_snapshot,
)
from pipeline_platform.lake.staging import Staged
from pipeline_platform.runbook import CompactionLimits

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def history(publish):
    """October with five rows, November with two, then October with three others."""
    first = publish(count=5, amount="1.5")
    publish("2026-11-01", count=2, run_id="run-2")
    publish(count=3, amount="2.5", run_id="run-3", properties={"position": "42"})
    return first


@pytest.fixture
def of_month(settings, lake, balances):
    """Return (rows, sum of amounts) of a month."""
    from pipeline_platform.lake.engine import connect

    def read(month):
        with connect(settings) as con:
            found = lake.relation(con, balances, months=(month, month))
            return found.aggregate("count(*), sum(amount)::DOUBLE").fetchone()

    return read


def restore(lake, table, snapshot_id, partition=OCTOBER):
    return restore_from_snapshot(
        lake, table, partition=partition, snapshot_id=snapshot_id, run_id="restore-1"
    )


def test_a_partition_is_what_it_was_in_a_snapshot(lake, balances, history, of_month):
    restore(lake, balances, history.snapshot_id)
    assert of_month(OCTOBER) == (5, 7.5)


def test_other_partitions_stay_as_they_are(lake, balances, history, of_month):
    restore(lake, balances, history.snapshot_id)
    assert of_month(NOVEMBER) == (2, 3.0)


def test_it_is_one_commit(lake, balances, history):
    restore(lake, balances, history.snapshot_id)
    assert len(lake.snapshots(balances)) == 4


def test_it_says_where_the_rows_come_from(lake, balances, history):
    properties = restore(lake, balances, history.snapshot_id).properties
    assert (properties["restored_from"], properties["run_id"], properties["partitions"]) == (
        f"snapshot {history.snapshot_id}",
        "restore-1",
        '["2026-10-01"]',
    )


def test_a_position_in_a_stream_goes_on(lake, balances, history):
    assert restore(lake, balances, history.snapshot_id).properties["position"] == "42"


def test_it_takes_no_run_back_though_the_commit_before_it_did(lake, balances, history, publish):
    publish(count=4, run_id="undo-1", properties={"undoes": "run-3"})
    assert "undoes" not in restore(lake, balances, history.snapshot_id).properties


def test_restored_files_are_still_pruned(lake, balances, history):
    restore(lake, balances, history.snapshot_id)
    assert len(lake.files(balances, where={"as_of_month": OCTOBER, "account_id": "zzz"})) == 0


def test_a_whole_table_is_what_it_was(lake, balances, history):
    restore(lake, balances, history.snapshot_id, partition=None)
    assert lake.partitions(balances) == {OCTOBER: 5}


def test_a_partition_that_was_not_there_is_emptied(lake, balances, history):
    restore(lake, balances, history.snapshot_id, partition=NOVEMBER)
    assert lake.partitions(balances) == {OCTOBER: 3}


def test_a_second_restoration_changes_nothing(lake, balances, history):
    restore(lake, balances, history.snapshot_id)
    assert (restore(lake, balances, history.snapshot_id), len(lake.snapshots(balances))) == (
        None,
        4,
    )


def test_what_it_would_change_is_told_and_nothing_changed(lake, balances, history):
    found = compare_with_snapshot(
        lake, balances, partition=OCTOBER, snapshot_id=history.snapshot_id
    )
    assert (found, len(lake.snapshots(balances))) == (Difference(3, 5, 3, 5), 3)


def test_files_that_are_gone_are_noticed_before_anything_changes(lake, balances, history, of_month):
    Path(
        lake.files(balances, where={"as_of_month": OCTOBER}, snapshot_id=history.snapshot_id)[0]
    ).unlink()
    with pytest.raises(NotFoundError, match="is gone or damaged"):
        restore(lake, balances, history.snapshot_id)
    assert of_month(OCTOBER) == (3, 7.5)


def test_a_snapshot_that_is_not_remembered_is_refused(lake, balances, history):
    with pytest.raises(NotFoundError, match="no snapshot 7"):
        restore(lake, balances, 7)


@pytest.mark.usefixtures("nobody_waits_for_a_turn")
def test_a_publication_in_between_is_not_doubled(lake, balances, history, publish, monkeypatch):
    commit, rivals = restoration.publications.commit_files, [1]

    def late(table, **arguments):
        if rivals and arguments["properties"]["run_id"] == "restore-1":
            rivals.pop()
            publish(count=4, run_id="rival")
        return commit(table, **arguments)

    monkeypatch.setattr(restoration.publications, "commit_files", late)
    restore(lake, balances, history.snapshot_id)
    assert lake.partitions(balances) == {OCTOBER: 5, NOVEMBER: 2}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backup"


@pytest.fixture
def backup(lake, balances, history, folder):
    """A backup of the whole table, of October with three rows."""
    return back_up(lake, balances, str(folder), partition=None, now=NOW)


def bring_back(lake, table, backup, partition=OCTOBER):
    return restore_from_backup(lake, table, backup, partition=partition, run_id="restore-2")


def test_a_backup_says_what_it_holds(backup):
    assert (backup.row_count, {file.partition for file in backup.files}) == (5, {OCTOBER, NOVEMBER})


def test_a_partition_comes_back_from_a_backup(lake, balances, backup, publish, of_month):
    publish(count=9, run_id="run-4")
    bring_back(lake, balances, backup)
    assert (of_month(OCTOBER), of_month(NOVEMBER)) == ((3, 7.5), (2, 3.0))


def test_a_table_comes_back_to_a_lake_that_lost_it(lake, balances, backup, content):
    before = content(lake, balances)
    lake.catalog.drop_table(balances.identifier)
    bring_back(lake, balances, backup, partition=None)
    assert content(lake, balances) == before


def test_statistics_stay_with_their_snapshot_and_are_made_anew_for_what_came_back(
    lake, balances, backup, publish
):
    """A backup holds rows only: the snapshot that brings them back has no statistics yet."""
    publish(count=7, run_id="mistake")
    lake.update_statistics(balances)
    counted = {one.snapshot_id for one in lake.iceberg(balances).metadata.statistics}
    back = bring_back(lake, balances, backup)
    kept = {one.snapshot_id for one in lake.iceberg(balances).metadata.statistics}
    counts = lake.update_statistics(balances, ["account_id"])
    made = {one.snapshot_id for one in lake.iceberg(balances).metadata.statistics}
    assert (kept, made - kept, counts) == (counted, {back.snapshot_id}, {"account_id": 3})


def test_the_backup_is_still_whole_afterwards(lake, settings, balances, backup):
    bring_back(lake, balances, backup)
    backup.verify(settings)
    assert len(backup.files) == 2


def test_a_backup_can_be_brought_back_twice(lake, balances, backup):
    for _ in range(2):
        bring_back(lake, balances, backup, partition=None)
    assert lake.partitions(balances) == {OCTOBER: 3, NOVEMBER: 2}


def test_a_backup_of_one_partition_holds_only_that(lake, balances, history, folder):
    made = back_up(lake, balances, str(folder), partition=NOVEMBER, now=NOW)
    with pytest.raises(NotFoundError, match="2026-11-01 only"):
        bring_back(lake, balances, made)


def test_what_a_backup_would_change_is_told_and_nothing_changed(
    lake, balances, backup, publish, settings
):
    publish(count=9, run_id="run-4", amount="2.5")
    before = len(lake.snapshots(balances))
    found = compare_with_backup(lake, balances, backup, partition=OCTOBER)
    assert (found, len(lake.snapshots(balances))) == (Difference(9, 3, 6, 0), before)


def test_a_damaged_file_is_noticed_before_anything_changes(
    lake, balances, backup, folder, of_month
):
    path = folder / backup.files[0].key
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(PermanentError, match="is damaged"):
        bring_back(lake, balances, backup, partition=None)
    assert of_month(OCTOBER) == (3, 7.5)


def test_a_missing_file_is_noticed(lake, balances, backup, folder):
    (folder / backup.files[0].key).unlink()
    with pytest.raises(PermanentError, match="missing"):
        bring_back(lake, balances, backup, partition=None)


def test_a_wrong_row_count_is_noticed(lake, settings, balances, backup, folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][0]["row_count"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(AuditFailedError, match="nothing was changed"):
        bring_back(lake, balances, Backup.open(str(folder), settings), partition=None)


def test_a_backup_of_another_table_is_refused(lake, balances, backup):
    with pytest.raises(PermanentError, match="is one of"):
        bring_back(lake, replace(balances, name="other"), backup)


def test_a_column_of_another_type_is_refused(lake, balances, backup):
    changed = balances.schema.set(7, pa.field("index", pa.int64()))
    with pytest.raises(PermanentError, match="column index as double"):
        bring_back(lake, replace(balances, schema=changed), backup)


def test_half_a_backup_is_none(settings, backup, folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(NotFoundError, match="no whole backup"):
        Backup.open(str(folder), settings)


def test_a_damaged_manifest_is_refused(settings, backup, folder):
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(PermanentError, match="damaged"):
        Backup.open(str(folder), settings)


def test_a_backup_is_not_overwritten(lake, balances, backup, folder):
    with pytest.raises(PermanentError, match="already"):
        back_up(lake, balances, str(folder), partition=None, now=NOW)


def test_a_compacted_file_that_comes_back_can_still_be_replaced_by_delivery(
    lake, balances, append, folder
):
    for number in range(4):
        append(run_id=f"run-{number}", file="ab"[number % 2] * 64, count=number + 1)
    limits = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
    compact(lake, balances, limits, run_id="m")
    made = back_up(lake, balances, str(folder), partition=OCTOBER, now=NOW)
    bring_back(lake, balances, made)
    nothing = Staged(balances, (), 0, "withdrawal", "a")
    lake.publish(nothing, replace=f"file_sha256 == '{'a' * 64}'", properties={})
    assert lake.partitions(balances) == {OCTOBER: 6}
