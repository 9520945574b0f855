"""Small files become few sorted ones; the rows, and what others look for, stay what they were."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import pyarrow as pa
import pytest

from pipeline_platform.failures import AuditFailedError, PermanentError
from pipeline_platform.lake import compaction
from pipeline_platform.lake.compaction import compact, plan_compaction
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.staging import Staged
from pipeline_platform.runbook import CompactionLimits

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
LIMITS = CompactionLimits(min_files=3, small_file_mb=1, target_file_mb=2)


@pytest.fixture
def fragmented(append):
    """Four small files in October, one in November."""
    for number in range(4):
        append(run_id=f"run-{number}", count=number + 1, amount=f"{number}.25")
    return append("2026-11-01", run_id="run-9", properties={"code_version": "abc"})


def test_many_small_files_become_one(lake, balances, fragmented):
    compact(lake, balances, LIMITS, run_id="m")
    assert len(lake.files(balances, where={"as_of_month": OCTOBER})) == 1


def test_the_rows_stay_the_same(lake, balances, fragmented, content):
    before = content(lake, balances)
    compact(lake, balances, LIMITS, run_id="m")
    assert content(lake, balances) == before


def test_a_partition_with_few_files_is_left_alone(lake, balances, fragmented):
    compact(lake, balances, LIMITS, run_id="m")
    assert [one.partition for one in plan_compaction(lake, balances, LIMITS)] == []


def test_the_plan_names_what_would_be_rewritten(lake, balances, fragmented):
    (found,) = plan_compaction(lake, balances, LIMITS)
    assert (found.partition, len(found.paths), found.row_count) == (OCTOBER, 4, 10)


def test_only_the_partitions_asked_for_are_rewritten(lake, balances, fragmented):
    assert plan_compaction(lake, balances, LIMITS, partitions=[NOVEMBER]) == []


def test_it_is_one_snapshot_that_says_that_it_changed_no_content(lake, balances, fragmented):
    compact(lake, balances, LIMITS, run_id="m")
    last = lake.iceberg(balances).current_snapshot()
    assert (last.summary.operation.value, len(lake.snapshots(balances))) == ("replace", 6)


def test_totals_of_the_summary_stay_true(lake, balances, fragmented):
    compact(lake, balances, LIMITS, run_id="m")
    summary = lake.iceberg(balances).current_snapshot().summary
    assert (summary["total-records"], summary["total-data-files"]) == ("13", "2")


def test_the_last_publication_stays_what_it_was(lake, balances, fragmented):
    compact(lake, balances, LIMITS, run_id="m")
    last = lake.last_publication(balances)
    assert (last.row_count, last.committed_at, last.properties["code_version"]) == (
        fragmented.row_count,
        fragmented.committed_at,
        "abc",
    )


def test_a_second_compaction_still_stands_for_the_publication(lake, balances, append):
    for number in range(3):
        append(run_id=f"run-{number}")
    first = append("2026-11-01", run_id="run-3")
    compact(lake, balances, LIMITS, run_id="m")
    compact(lake, balances, LIMITS.model_copy(update={"min_files": 1}), run_id="m2")
    last = lake.last_publication(balances)
    assert (len(lake.snapshots(balances)), last.committed_at) == (6, first.committed_at)


def test_an_append_is_still_not_repeated(lake, balances, fragmented, append):
    compact(lake, balances, LIMITS, run_id="m")
    append(run_id="run-0", count=1)
    append("2026-11-01", run_id="run-9")
    assert lake.partitions(balances) == {OCTOBER: 10, NOVEMBER: 3}


def test_a_compacted_partition_can_be_replaced(lake, balances, fragmented, publish):
    compact(lake, balances, LIMITS, run_id="m")
    publish(count=5, run_id="run-10")
    assert lake.partitions(balances) == {OCTOBER: 5, NOVEMBER: 3}


def test_who_reads_the_snapshot_before_reads_on(lake, con, balances, fragmented):
    pinned = lake.pin(balances)
    compact(lake, balances, LIMITS, run_id="m")
    assert con.sql(pinned.query).aggregate("count(*)").fetchall() == [(13,)]


@pytest.fixture
def delivered(lake, balances, append):
    """Six deliveries of three files, merged to one data file."""
    for number in range(6):
        append(run_id=f"run-{number}", file="abc"[number % 3] * 64, count=number + 1)
    compact(lake, balances, LIMITS, run_id="m")
    assert len(lake.files(balances)) == 1


def of_files(lake, con, table):
    found = lake.relation(con, table).aggregate("file_sha256[1], count(*)")
    return dict(found.fetchall())


def test_a_delivered_file_can_still_be_replaced(lake, con, balances, delivered, rows):
    again = lake.stage(balances, rows("2026-10-01", file="a" * 64), run_id="r", partition="a" * 64)
    published = lake.publish(again, replace=f"file_sha256 == '{'a' * 64}'", properties={})
    assert (of_files(lake, con, balances), published.row_count) == ({"a": 3, "b": 7, "c": 9}, 3)


def test_a_delivered_file_can_still_be_withdrawn(lake, con, balances, delivered):
    nothing = Staged(balances, (), 0, "withdrawal", "b" * 64)
    lake.publish(nothing, replace=f"file_sha256 == '{'b' * 64}'", properties={})
    assert of_files(lake, con, balances) == {"a": 5, "c": 9}


def test_the_last_delivered_file_can_be_withdrawn_too(lake, con, balances, delivered):
    nothing = Staged(balances, (), 0, "withdrawal", "all")
    every = " or ".join(f"file_sha256 == '{letter * 64}'" for letter in "abc")
    lake.publish(nothing, replace=every, properties={})
    assert lake.partitions(balances) == {}


def test_a_merged_file_without_the_delivery_is_not_written_anew(lake, balances, delivered):
    before = lake.files(balances)
    nothing = Staged(balances, (), 0, "withdrawal", "none")
    lake.publish(nothing, replace=f"file_sha256 == 'b{'0' * 63}'", properties={})
    assert lake.files(balances) == before


def test_what_was_left_of_a_merged_file_can_be_merged_and_replaced_again(
    lake, con, balances, delivered, rows
):
    for letter in "ab":
        again = lake.stage(
            balances, rows("2026-10-01", file=letter * 64), run_id=letter, partition=letter * 64
        )
        lake.publish(again, replace=f"file_sha256 == '{letter * 64}'", properties={})
    compact(lake, balances, LIMITS, run_id="m2")
    nothing = Staged(balances, (), 0, "withdrawal", "a" * 64)
    lake.publish(nothing, replace=f"file_sha256 == '{'a' * 64}'", properties={})
    assert of_files(lake, con, balances) == {"b": 3, "c": 9}


def test_large_files_are_split_in_order(lake, con, balances, rows):
    for number in range(3):
        # Random text, because what repeats would not fill a file.
        many = rows("2026-10-01", count=60_000).project(
            f"* REPLACE (md5(account_id || '{number}') AS account_id)"
        )
        staged = lake.stage(balances, many, run_id=f"run-{number}", partition="2026-10-01")
        lake.publish(staged, replace=None, properties={})
    limits = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
    compact(lake, balances, limits, run_id="m")
    ranges = sorted(
        con.sql(f"SELECT min(account_id), max(account_id) FROM read_parquet('{path}')").fetchone()
        for path in lake.files(balances)
    )
    is_in_order = all(one[1] <= then[0] for one, then in pairwise(ranges))
    assert (len(ranges) > 1, is_in_order, plan_compaction(lake, balances, limits)) == (
        True,
        True,
        [],
    )


def test_an_unpartitioned_table_is_compacted(lake, balances, append, content):
    table = replace(balances, name="all_of_it", partition_by=None)
    for number in range(3):
        append(run_id=f"run-{number}", table=table)
    before = content(lake, table)
    compact(lake, table, LIMITS, run_id="m")
    assert (content(lake, table), len(lake.files(table))) == (before, 1)


def test_files_from_before_a_column_was_added_get_it_as_null(lake, balances, append, rows, content):
    for number in range(3):
        append(run_id=f"run-{number}")
    wider = replace(balances, schema=balances.schema.append(pa.field("note", pa.string())))
    lake.ensure(wider)
    before = content(lake, wider)
    compact(lake, wider, LIMITS, run_id="m")
    assert (content(lake, wider), len(lake.files(wider))) == (before, 1)


def test_a_column_that_is_not_declared_any_more_is_not_lost(lake, balances, fragmented):
    lake.ensure(replace(balances, schema=balances.schema.append(pa.field("note", pa.string()))))
    with pytest.raises(PermanentError, match="note"):
        compact(lake, balances, LIMITS, run_id="m")


def test_rewritten_files_that_lack_a_row_are_not_published(
    lake, balances, fragmented, monkeypatch, content
):
    stage, before = Lake.stage, content(lake, balances)

    def losing(self, table, source, **arguments):
        return stage(self, table, source.limit(9), **arguments)

    monkeypatch.setattr(Lake, "stage", losing)
    with pytest.raises(AuditFailedError, match="nothing was changed"):
        compact(lake, balances, LIMITS, run_id="m")
    assert content(lake, balances) == before


def test_rewritten_files_with_another_value_are_not_published(
    lake, balances, fragmented, monkeypatch, content
):
    stage, before = Lake.stage, content(lake, balances)

    def changing(self, table, source, **arguments):
        changed = source.project("* REPLACE (amount + (account_id = 'account 0')::INT AS amount)")
        return stage(self, table, changed, **arguments)

    monkeypatch.setattr(Lake, "stage", changing)
    with pytest.raises(AuditFailedError, match="nothing was changed"):
        compact(lake, balances, LIMITS, run_id="m")
    assert content(lake, balances) == before


@pytest.fixture
def while_rewriting(monkeypatch):
    """Let something happen between the rewriting of files and their commit."""

    def arrange(happening):
        commit = compaction._commit

        def later(*arguments):
            happening()
            commit(*arguments)

        monkeypatch.setattr(compaction, "_commit", later)

    return arrange


def test_a_partition_published_meanwhile_is_left_to_its_publisher(
    lake, balances, fragmented, publish, while_rewriting
):
    while_rewriting(lambda: publish(count=7, run_id="rival"))
    (done,) = compact(lake, balances, LIMITS, run_id="m")
    assert (done.skipped is not None, lake.partitions(balances)) == (
        True,
        {OCTOBER: 7, NOVEMBER: 3},
    )


def test_rows_appended_meanwhile_are_kept(lake, balances, fragmented, append, while_rewriting):
    while_rewriting(lambda: append(count=2, run_id="rival"))
    compact(lake, balances, LIMITS, run_id="m")
    assert (lake.partitions(balances)[OCTOBER], len(lake.files(balances))) == (12, 3)


def test_another_partition_published_meanwhile_is_no_hindrance(
    lake, balances, fragmented, publish, while_rewriting
):
    while_rewriting(lambda: publish("2026-11-01", count=1, run_id="rival"))
    (done,) = compact(lake, balances, LIMITS, run_id="m")
    assert (done.skipped, lake.partitions(balances)) == (None, {OCTOBER: 10, NOVEMBER: 1})


def test_what_was_rewritten_in_vain_is_removed(
    lake, balances, fragmented, publish, while_rewriting, tmp_path
):
    while_rewriting(lambda: publish(count=7, run_id="rival"))
    compact(lake, balances, LIMITS, run_id="in-vain")
    assert not list(tmp_path.rglob("in-vain*"))


@pytest.mark.usefixtures("nobody_waits_for_a_turn")
def test_a_table_that_others_never_leave_alone_is_left_to_them(
    lake, balances, fragmented, append, monkeypatch, content
):
    commit, rivals = compaction.publications.commit_files, iter(range(100))

    def commit_late(table, **arguments):
        if arguments.get("keeps_content"):
            append("2026-11-01", count=1, run_id=f"rival-{next(rivals)}")
        return commit(table, **arguments)

    monkeypatch.setattr(compaction.publications, "commit_files", commit_late)
    monkeypatch.setattr("pipeline_platform.lake.lake.FIRST_WAIT_SECONDS", 0)
    (done,) = compact(lake, balances, LIMITS, run_id="m")
    assert ("without a pause" in done.skipped, lake.partitions(balances)[OCTOBER]) == (True, 10)
