"""The same lake in an object store, and with the catalog of AWS, over HTTP."""

from datetime import date

import pytest

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from tests.integration.lake.conftest import BUCKET

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


@pytest.fixture
def settings(settings_in_s3):
    """The tables of these tests are in a bucket."""
    return settings_in_s3


def test_rows_published_to_s3_are_read_back(lake, con, balances, publish):
    publish(count=5)
    publish(count=2, run_id="run-2")
    assert lake.relation(con, balances).aggregate("count(*)").fetchall() == [(2,)]


def test_rows_of_one_file_are_split_by_month_in_s3(lake, balances, rows):
    both = rows("2026-10-01", "2026-11-01", file="a" * 64)
    staged = lake.stage(balances, both, run_id="run-1", partition="a" * 64)
    lake.publish(staged, replace=f"file_sha256 == '{'a' * 64}'", properties={})
    assert lake.partitions(balances) == {OCTOBER: 3, NOVEMBER: 3}


def test_discarded_files_are_gone_from_s3(lake, s3, balances, rows):
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    lake.discard(staged)
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"lake/{balances.identifier[0]}")
    assert not [o["Key"] for o in found["Contents"] if o["Key"].endswith(".parquet")]


def test_files_of_another_engine_are_moved_within_s3(lake, con, balances, rows):
    source = f"s3://{BUCKET}/elsewhere/model.parquet"
    staged = lake.stage(balances, rows("2026-10-01"), run_id="run-1", partition="2026-10-01")
    lake.staged_relation(con, staged).to_parquet(source)
    adopted = lake.adopt(balances, [source], run_id="run-2", partition="2026-10-01")
    lake.publish(adopted, replace=None, properties={})
    assert lake.partitions(balances) == {OCTOBER: 3}


def test_glue_holds_the_tables(settings, aws, database_url, balances, rows):
    with_glue = settings.model_copy(update={"catalog": "glue", "catalog_uri": aws})
    lake = Lake.open(with_glue, database_url)
    for run_id, count in (("run-1", 5), ("run-2", 2)):
        staged = lake.stage(
            balances, rows("2026-10-01", count=count), run_id=run_id, partition="2026-10-01"
        )
        lake.publish(staged, replace="as_of_month == '2026-10-01'", properties={})
    with connect(with_glue) as con:
        counted = lake.relation(con, balances).aggregate("count(*)").fetchall()
    assert counted == [(2,)]
