"""A lake on a real catalog, and tables that no other test knows."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import boto3
import pyarrow as pa
import pytest

from pipeline_platform.lake.compaction import content_checksum
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

BUCKET = "advisory-lake"
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
def nobody_waits_for_a_turn(monkeypatch):
    """For a rival that commits in the middle of another's commit, in the same thread."""
    monkeypatch.setattr("pipeline_platform.lake.iceberg_tables.SECONDS_FOR_A_TURN", 0.05)


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


@pytest.fixture(scope="session")
def aws():
    """Address of a server that answers as S3 and Glue do.

    It is a process of its own: DuckDB holds Python's lock while it lists objects.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, server)
        yield address
        server.terminate()


def wait_for(address, server):
    for _ in range(300):
        assert server.poll() is None
        try:
            with urllib.request.urlopen(f"{address}/moto-api/"):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError(address)


@pytest.fixture
def s3(aws, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "it's a secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=aws)
    client.create_bucket(Bucket=BUCKET)
    yield client
    bucket = boto3.resource("s3", endpoint_url=aws).Bucket(BUCKET)
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def settings_in_s3(tmp_path, aws, s3):
    """Settings whose tables are in a bucket."""
    return Settings(
        home=tmp_path / "home", processed_location=f"s3://{BUCKET}/lake", s3_endpoint=aws
    )


@pytest.fixture
def append(lake, balances, rows):
    """Append rows of one month: a small file of its own each time."""

    def run(month="2026-10-01", run_id="run-1", properties=None, table=balances, **kind):
        staged = lake.stage(table, rows(month, **kind), run_id=run_id, partition=month)
        return lake.publish(staged, replace=None, properties=properties or {})

    return run


@pytest.fixture
def content(settings):
    """Hash all rows that a table's current snapshot shows."""

    def read(lake, table):
        with connect(settings) as connection:
            return content_checksum(connection, lake.pin(table).query, table)

    return read
