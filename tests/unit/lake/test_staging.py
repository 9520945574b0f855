"""Rows become Parquet files with exactly the declared columns."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_platform.failures import AuditFailedError
from pipeline_platform.lake.staging import file_name_part, is_value, write_rows
from pipeline_platform.lake.tables import LakeTable

BALANCES = LakeTable(
    pipeline="sample",
    layer="silver",
    name="balances",
    schema=pa.schema(
        [
            pa.field("account_id", pa.string(), nullable=False),
            pa.field("as_of_month", pa.date32(), nullable=False),
            pa.field("amount", pa.decimal128(20, 4)),
            pa.field("decimals", pa.int16()),
            pa.field("known_from", pa.timestamp("us", tz="UTC")),
        ]
    ),
    description="A sample.",
    partition_by="as_of_month",
    sort_by=("account_id",),
)


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def balances(con, *, count=10, months=1):
    return con.sql(
        f"""SELECT TIMESTAMPTZ '2026-10-02 00:00:00+00' AS known_from, 2 AS decimals,
        i * 1.5 AS amount,
        'account ' || (97 * i % {count}) AS account_id,
        CAST(DATE '2026-10-01' + to_months(CAST(i % {months} AS INTEGER)) AS DATE) AS as_of_month
        FROM range({count}) r(i)"""
    )


def write(con, tmp_path, rows, partition="2026-10-01", run_id="run-1"):
    return write_rows(BALANCES, rows, location=str(tmp_path), run_id=run_id, partition=partition)


def test_a_file_has_exactly_the_declared_columns_and_types(con, tmp_path):
    (path,) = write(con, tmp_path, balances(con))
    found = pq.read_schema(path)
    assert [(f.name, f.type) for f in found] == [(f.name, f.type) for f in BALANCES.schema]


def test_rows_of_one_partition_are_sorted(con, tmp_path):
    (path,) = write(con, tmp_path, balances(con, count=300_000))
    accounts = pq.read_table(path, columns=["account_id"]).column(0).to_pylist()
    assert accounts == sorted(accounts)


def test_a_partition_key_that_is_no_month_gives_a_file_for_each_month(con, tmp_path):
    paths = write(con, tmp_path, balances(con, count=30, months=3), partition="ab12cd")
    months = [set(pq.read_table(path).column("as_of_month").to_pylist()) for path in paths]
    assert sorted(len(month) for month in months) == [1, 1, 1]


def test_names_carry_partition_and_run(con, tmp_path):
    (path,) = write(con, tmp_path, balances(con), run_id="run-7")
    assert path.startswith(f"{tmp_path}/data/2026-10-01/run-7-")


def test_a_repeated_run_never_overwrites_its_earlier_file(con, tmp_path):
    first = write(con, tmp_path, balances(con))
    assert set(first).isdisjoint(write(con, tmp_path, balances(con)))


def test_a_missing_column_is_refused(con, tmp_path):
    rows = balances(con).project("account_id, as_of_month, amount, decimals")
    with pytest.raises(AuditFailedError, match="known_from"):
        write(con, tmp_path, rows)


def test_an_undeclared_column_is_refused(con, tmp_path):
    rows = balances(con).project("*, 1 AS surprise")
    with pytest.raises(AuditFailedError, match="surprise"):
        write(con, tmp_path, rows)


def test_a_value_that_can_not_be_cast_is_refused(con, tmp_path):
    rows = balances(con).project("* REPLACE ('twelve' AS amount)")
    with pytest.raises(AuditFailedError, match="twelve"):
        write(con, tmp_path, rows)


def test_a_value_beyond_the_declared_precision_is_refused(con, tmp_path):
    rows = balances(con).project("* REPLACE (1e17 AS amount)")
    with pytest.raises(AuditFailedError, match="balances"):
        write(con, tmp_path, rows)


@pytest.mark.parametrize(
    ("text", "part"),
    [("2026-10-01", "2026-10-01"), ("../../etc", "_.._etc"), ("a/b c", "a_b_c"), ("..", "")],
)
def test_a_key_can_not_lead_out_of_the_data_folder(text, part):
    assert file_name_part(text) == part


@pytest.mark.parametrize(("key", "expected"), [("2026-10-01", True), ("ab12", False), ("", False)])
def test_only_a_date_is_a_value_of_a_month_column(key, expected):
    assert is_value(BALANCES, key) is expected
