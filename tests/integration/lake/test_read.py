"""A relation is one snapshot, read from only the files that can matter."""

import shutil
from datetime import date

import pyarrow as pa
import pytest

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable

OCTOBER, NOVEMBER, DECEMBER = date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)


@pytest.fixture
def three_months(publish):
    for month in ("2026-10-01", "2026-11-01", "2026-12-01"):
        publish(month)


def test_a_table_that_was_never_made_reads_as_empty(lake, con, balances):
    assert lake.relation(con, balances).columns == balances.schema.names


def test_only_the_files_of_the_wanted_months_are_opened(lake, balances, three_months):
    files = lake.files(balances, where={"as_of_month": (NOVEMBER, DECEMBER)})
    assert sorted(path.split("/data/")[1][:10] for path in files) == ["2026-11-01", "2026-12-01"]


def test_months_are_inclusive(lake, con, balances, three_months):
    rows = lake.relation(con, balances, months=(OCTOBER, NOVEMBER))
    found = rows.aggregate("as_of_month").order("as_of_month").fetchall()
    assert found == [(OCTOBER,), (NOVEMBER,)]


def test_months_without_data_read_as_empty(lake, con, balances, three_months):
    rows = lake.relation(con, balances, months=(date(2020, 1, 1), date(2020, 2, 1)))
    assert rows.fetchall() == []


def test_files_are_pruned_by_the_bounds_of_other_columns(lake, balances, publish):
    publish("2026-10-01", file="a" * 64)
    publish("2026-11-01", file="b" * 64)
    assert len(lake.files(balances, where={"file_sha256": "b" * 64})) == 1


def test_a_range_can_be_open(lake, balances, three_months):
    assert len(lake.files(balances, where={"as_of_month": (NOVEMBER, None)})) == 2


def test_an_older_snapshot_reads_as_it_was(lake, con, balances, publish):
    first = publish(count=5)
    publish(count=2, run_id="run-2")
    rows = lake.relation(con, balances, snapshot_id=first.snapshot_id)
    assert rows.aggregate("count(*)").fetchall() == [(5,)]


def test_a_relation_keeps_its_snapshot_while_others_publish(lake, con, balances, publish):
    publish(count=5)
    rows = lake.relation(con, balances)
    publish(count=2, run_id="run-2")
    assert rows.aggregate("count(*)").fetchall() == [(5,)]


def test_an_unknown_snapshot_is_named(lake, con, balances, publish):
    publish()
    with pytest.raises(NotFoundError, match="no snapshot 17"):
        lake.relation(con, balances, snapshot_id=17)


def test_an_unpartitioned_table_can_not_be_read_by_months(lake, con):
    table = LakeTable("sample", "gold", "plain", pa.schema([pa.field("a", pa.int32())]), "Plain.")
    with pytest.raises(PermanentError, match="not partitioned"):
        lake.relation(con, table, months=(OCTOBER, OCTOBER))


def test_an_unpartitioned_table_has_one_partition(lake, con, balances):
    table = LakeTable(
        balances.pipeline, "gold", "plain", pa.schema([pa.field("a", pa.int32())]), "Plain."
    )
    staged = lake.stage(table, con.sql("SELECT 1 AS a"), run_id="run-1", partition="")
    lake.publish(staged, replace=None, properties={})
    assert lake.partitions(table) == {None: 1}


def test_a_table_exists_once_ensured(lake, balances):
    before = lake.exists(balances)
    lake.ensure(balances)
    assert (before, lake.exists(balances)) == (False, True)


def extended(balances, *fields):
    return type(balances)(**{**vars(balances), "schema": pa.schema([*balances.schema, *fields])})


def test_a_declared_column_that_is_new_reads_as_null_in_older_rows(lake, con, balances, publish):
    publish()
    table = extended(balances, pa.field("note", pa.string()))
    lake.ensure(table)
    assert lake.relation(con, table).aggregate("count(*), count(note)").fetchall() == [(3, 0)]


def test_rows_with_a_new_column_are_published_beside_older_ones(lake, con, balances, rows, publish):
    publish("2026-10-01")
    table = extended(balances, pa.field("note", pa.string()))
    noted = rows("2026-11-01").project("*, 'x' AS note")
    staged = lake.stage(table, noted, run_id="run-2", partition="2026-11-01")
    lake.publish(staged, replace=None, properties={})
    assert lake.relation(con, table).aggregate("count(*), count(note)").fetchall() == [(6, 3)]


def test_a_new_required_column_needs_a_migration(lake, balances):
    lake.ensure(balances)
    with pytest.raises(PermanentError, match="is required, but not there"):
        lake.ensure(extended(balances, pa.field("note", pa.string(), nullable=False)))


def test_a_changed_type_needs_a_migration(lake, balances):
    lake.ensure(balances)
    at = balances.schema.get_field_index("amount")
    changed = balances.schema.set(at, pa.field("amount", pa.float64(), nullable=False))
    with pytest.raises(PermanentError, match="decimal"):
        lake.ensure(type(balances)(**{**vars(balances), "schema": changed}))


def test_required_columns_are_required_in_the_catalog(lake, balances):
    lake.ensure(balances)
    schema = lake.catalog.load_table(balances.identifier).schema()
    assert [f.required for f in schema.fields] == [not f.nullable for f in balances.schema]


def test_a_table_whose_folder_was_removed_is_named(lake, settings, balances, publish):
    publish()
    shutil.rmtree(settings.processed_location)
    with pytest.raises(NotFoundError, match="restore the lake's folder"):
        lake.exists(balances)


def test_opening_connects_to_nothing(settings):
    assert Lake.open(settings, "postgresql://nobody@127.0.0.1:1/none") is not None
