"""Rows become visible in one commit, whole files at a time."""

import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline_platform.failures import AuditFailedError, NotFoundError, PermanentError
from pipeline_platform.lake.lake import Lake
from tests.examples import examples

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


def month_filter(month):
    return f"as_of_month == '{month}'"


def test_staged_rows_are_not_visible(lake, con, balances, rows):
    lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    assert lake.relation(con, balances).fetchall() == []


def test_staged_rows_can_be_audited(lake, con, balances, rows):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    assert lake.staged_relation(con, staged).aggregate("count(*)").fetchall() == [(3,)]


def test_published_rows_are_visible(lake, con, balances, publish):
    publish()
    assert lake.relation(con, balances).aggregate("count(*)").fetchall() == [(3,)]


def test_values_of_every_type_come_back_as_they_were(lake, con, balances, rows, publish):
    publish()
    expected = rows("2026-10-01").project(
        "* REPLACE (amount::DECIMAL(20,4) AS amount, growth::DECIMAL(18,12) AS growth, "
        "weight::DECIMAL(9,8) AS weight, decimals::SMALLINT AS decimals, index::DOUBLE AS index)"
    )
    found = lake.relation(con, balances).order("account_id").fetchall()
    assert found == expected.order("account_id").fetchall()


def test_a_second_publication_takes_the_place_of_the_first(lake, con, balances, publish):
    publish(count=5)
    publish(count=2, run_id="run-2")
    assert lake.partitions(balances) == {OCTOBER: 2}


def test_other_months_stay(lake, balances, publish):
    publish("2026-10-01", count=5)
    publish("2026-11-01", count=2)
    assert lake.partitions(balances) == {OCTOBER: 5, NOVEMBER: 2}


def test_a_publication_makes_one_snapshot(lake, balances, publish):
    publish(count=5)
    publish(count=2, run_id="run-2")
    assert [p.row_count for p in lake.snapshots(balances)] == [5, 2]


def test_a_publication_carries_its_properties(lake, balances, publish):
    publish(properties={"code_version": "abc", "inputs": '{"x": 1}'})
    assert lake.last_publication(balances).properties == {
        "code_version": "abc",
        "inputs": '{"x": 1}',
        "run_id": "run-1",
        "partitions": '["2026-10-01"]',
    }


def test_an_empty_stage_removes_the_partition(lake, balances, publish):
    publish("2026-10-01")
    publish("2026-11-01")
    publish("2026-10-01", count=0, run_id="run-2")
    assert lake.partitions(balances) == {NOVEMBER: 3}


def test_an_empty_stage_of_an_empty_table_still_leaves_its_mark(lake, balances, publish):
    publish(count=0, properties={"code_version": "abc"})
    assert lake.last_publication(balances).properties["code_version"] == "abc"


def test_a_file_is_replaced_by_its_hash_in_all_its_months(lake, balances, rows):
    for run_id, count in (("run-1", 4), ("run-2", 2)):
        for file in ("a" * 64, "a" * 63 + "b"):
            staged = lake.stage(
                balances,
                rows("2026-10-01", "2026-11-01", file=file, count=count),
                run_id=run_id,
                partition=file,
            )
            lake.publish(staged, replace=f"file_sha256 == '{file}'", properties={})
    assert lake.partitions(balances) == {OCTOBER: 4, NOVEMBER: 4}


def test_a_replacement_that_would_rewrite_a_file_is_refused(lake, con, balances, rows):
    mixed = rows("2026-10-01", file="a" * 64).union(rows("2026-10-01", file="b" * 64))
    staged = lake.stage(balances, mixed, run_id="run-1", partition="2026-10-01")
    lake.publish(staged, replace=None, properties={})
    with pytest.raises(AuditFailedError, match="as a whole"):
        lake.publish(staged, replace=f"file_sha256 == '{'a' * 64}'", properties={})


def test_a_refused_replacement_leaves_the_table_alone(lake, con, balances, rows):
    mixed = rows("2026-10-01", file="a" * 64).union(rows("2026-10-01", file="b" * 64))
    staged = lake.stage(balances, mixed, run_id="run-1", partition="2026-10-01")
    lake.publish(staged, replace=None, properties={})
    with pytest.raises(AuditFailedError):
        lake.publish(staged, replace=f"file_sha256 == '{'a' * 64}'", properties={})
    assert lake.partitions(balances) == {OCTOBER: 6}


def test_an_append_is_not_repeated_for_the_same_run_and_partition(lake, balances, rows):
    for _ in range(2):
        staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
        published = lake.publish(staged, replace=None, properties={})
    assert (published.row_count, lake.partitions(balances)) == (3, {OCTOBER: 3})


def test_an_append_that_is_not_repeated_leaves_no_file_behind(lake, balances, rows):
    for _ in range(2):
        staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
        lake.publish(staged, replace=None, properties={})
    folder = Path(lake.files(balances)[0]).parent
    assert [str(path) for path in folder.iterdir()] == lake.files(balances)


def test_appends_of_other_partitions_or_runs_add_up(lake, balances, rows):
    for run_id in ("run-1", "run-2"):
        staged = lake.stage(balances, rows("2026-10-01"), run_id=run_id, partition="2026-10-01")
        lake.publish(staged, replace=None, properties={})
    assert lake.partitions(balances) == {OCTOBER: 6}


def test_the_same_staged_files_can_be_published_twice(lake, balances, rows):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    for _ in range(2):
        lake.publish(staged, replace=month_filter(OCTOBER), properties={})
    assert (lake.partitions(balances), len(lake.snapshots(balances))) == ({OCTOBER: 3}, 1)


def test_several_stages_are_published_in_one_commit(lake, balances, rows):
    staged = [
        lake.stage(balances, rows(month), run_id="run-1", partition=month)
        for month in ("2026-10-01", "2026-11-01")
    ]
    lake.publish(staged, replace="as_of_month >= '2026-10-01'", properties={})
    assert len(lake.snapshots(balances)) == 1


def test_stages_of_two_runs_are_not_published_together(lake, balances, rows):
    staged = [
        lake.stage(balances, rows("2026-10-01"), run_id=run_id, partition="2026-10-01")
        for run_id in ("run-1", "run-2")
    ]
    with pytest.raises(PermanentError, match="one table and one run"):
        lake.publish(staged, replace=None, properties={})


def test_a_null_in_a_required_column_is_refused(lake, balances, rows):
    broken = rows("2026-10-01").project("* REPLACE (NULL AS amount)")
    with pytest.raises(AuditFailedError, match="amount of balances is required"):
        lake.stage(balances, broken, run_id="run-1", partition="2026-10-01")


def test_rows_of_another_month_than_the_partition_are_refused(lake, balances, rows):
    with pytest.raises(AuditFailedError, match="2026-11-01"):
        lake.stage(balances, rows("2026-11-01"), run_id="run-1", partition="2026-10-01")


def test_rows_of_two_months_for_one_partition_are_refused(lake, balances, rows):
    both = rows("2026-10-01", "2026-11-01")
    with pytest.raises(AuditFailedError, match="more than one as_of_month"):
        lake.stage(balances, both, run_id="run-1", partition="2026-10-01")


def test_a_staged_file_that_is_gone_is_named(lake, balances, rows):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    Path(staged.files[0]).unlink()
    with pytest.raises(NotFoundError, match="stage its rows again"):
        lake.publish(staged, replace=None, properties={})


@pytest.mark.parametrize("form", ["table", "reader"])
def test_arrow_rows_are_staged_like_relations(lake, balances, rows, form):
    table = rows("2026-10-01").to_arrow_table()
    source = (
        table
        if form == "table"
        else pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    )
    staged = lake.stage(balances, source, run_id="run-1", partition="2026-10-01")
    found = pq.read_schema(staged.files[0])
    assert [(f.name, f.type) for f in found] == [(f.name, f.type) for f in balances.schema]


def test_discarded_files_are_gone(lake, balances, rows):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    lake.discard(staged)
    assert not Path(staged.files[0]).exists()


def test_files_that_an_older_snapshot_names_are_not_discarded(lake, balances, rows, publish):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    lake.publish(staged, replace=None, properties={})
    publish(run_id="run-2")
    lake.discard(staged)
    assert Path(staged.files[0]).exists()


def test_another_process_sees_what_was_published(lake, settings, database_url, balances, publish):
    publish()
    assert Lake.open(settings, database_url).partitions(balances) == {OCTOBER: 3}


def test_manifests_do_not_pile_up_with_replacements(lake, balances, publish):
    for number in range(12):
        publish(run_id=f"run-{number}")
    table = lake.catalog.load_table(balances.identifier)
    assert len(table.current_snapshot().manifests(table.io)) <= 2


def test_publishing_a_month_computes_for_less_than_a_tenth_of_a_second(
    lake, balances, rows, publish
):
    publish(run_id="warm")
    seconds = []
    for number in range(5):
        staged = lake.stage(
            balances, rows("2026-10-01"), run_id=f"run-{number}", partition="2026-10-01"
        )
        start = time.process_time()
        lake.publish(staged, replace=month_filter(OCTOBER), properties={})
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


steps = st.lists(
    st.tuples(st.sampled_from(["2026-10-01", "2026-11-01"]), st.integers(0, 4), st.booleans()),
    max_size=5,
)


@given(steps=steps)
@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_replacements_leaves_the_last_of_each_month(lake, rows, balances, steps):
    table = type(balances)(**{**vars(balances), "name": f"t{time.monotonic_ns()}"})
    expected = {}
    for number, (month, count, is_repeated) in enumerate(steps):
        staged = lake.stage(
            table, rows(month, count=count), run_id=f"run-{number}", partition=month
        )
        for _ in range(1 + is_repeated):
            lake.publish(staged, replace=month_filter(month), properties={})
        expected[date.fromisoformat(month)] = count
    assert lake.partitions(table) == {month: count for month, count in expected.items() if count}
