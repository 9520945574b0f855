"""A lake on a real catalog, and tables that no other test knows."""

import uuid

import pyarrow as pa
import pytest

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable

COLUMNS = [
    pa.field("account_id", pa.string(), nullable=False),
    pa.field("as_of_month", pa.date32(), nullable=False),
    pa.field("amount", pa.decimal128(20, 4), nullable=False),
    pa.field("growth", pa.decimal128(18, 12)),
    pa.field("weight", pa.decimal128(9, 8)),
    pa.field("decimals", pa.int16()),
    pa.field("is_current", pa.bool_()),
    pa.field("index", pa.float64()),
    pa.field("file_sha256", pa.string(), nullable=False),
    pa.field("known_from", pa.timestamp("us", tz="UTC"), nullable=False),
]


@pytest.fixture
def balances():
    """A table of every type, partitioned by month."""
    return LakeTable(
        pipeline=f"sample_{uuid.uuid4().hex[:8]}",
        layer="silver",
        name="balances",
        schema=pa.schema(COLUMNS),
        description="A sample.",
        partition_by="as_of_month",
        sort_by=("account_id",),
    )


@pytest.fixture
def lake(settings, database_url):
    opened = Lake.open(settings, database_url)
    yield opened
    opened.close()


@pytest.fixture
def con(settings):
    with connect(settings) as connection:
        yield connection


@pytest.fixture
def rows(con):
    """Make rows: `count` accounts in each month, from a file, with an amount."""

    def make(*months, count=3, file="f" * 64, amount="1.5"):
        listed = ", ".join(f"(DATE '{month}')" for month in months)
        return con.sql(
            f"""SELECT 'account ' || i AS account_id, as_of_month, {amount} AS amount,
            0.001 AS growth, 0.25 AS weight, 4 AS decimals, true AS is_current, 1.1 AS index,
            '{file}' AS file_sha256, TIMESTAMPTZ '2026-11-02 07:00:00+00' AS known_from
            FROM range({count}) r(i), (VALUES {listed}) m(as_of_month)"""
        )

    return make


@pytest.fixture
def publish(lake, balances, rows):
    """Stage and publish rows of one month, replacing the month."""

    def run(month="2026-10-01", run_id="run-1", properties=None, **kind):
        staged = lake.stage(balances, rows(month, **kind), run_id=run_id, partition=month)
        return lake.publish(
            staged, replace=f"as_of_month == '{month}'", properties=properties or {}
        )

    return run
