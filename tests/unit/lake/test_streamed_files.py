"""Rows that come bit by bit end in one file per partition, in their order, few of them waiting."""

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_platform.failures import AuditFailedError
from pipeline_platform.lake import streamed_files
from pipeline_platform.lake.local_files import LocalFiles
from pipeline_platform.lake.streamed_files import StreamedFiles, WaitingRows
from tests.unit.lake.test_staging import BALANCES, balances

MANY = 10**9


def stream(tmp_path: Path, waiting: WaitingRows | None = None) -> StreamedFiles:
    return StreamedFiles(
        BALANCES,
        LocalFiles(),
        location=str(tmp_path),
        run_id="run-1",
        partition="a",
        waiting=waiting or WaitingRows(MANY),
    )


def rows(months: list[int], account: str = "A") -> pa.Table:
    return pa.table(
        {
            "account_id": [account] * len(months),
            "as_of_month": [date(2026, month, 1) for month in months],
            "amount": pa.nulls(len(months), pa.decimal128(20, 4)),
            "decimals": pa.nulls(len(months), pa.int16()),
            "known_from": pa.nulls(len(months), pa.timestamp("us", tz="UTC")),
        }
    )


def test_each_partition_gets_one_file_in_the_order_of_writing(tmp_path: Path) -> None:
    with stream(tmp_path) as files:
        for account in "CAB":
            files.write(rows([10, 11, 10], account))
    found = [pq.ParquetFile(path).read(["account_id"])[0].to_pylist() for path in files.paths]
    assert found == [["C", "C", "A", "A", "B", "B"], ["C", "A", "B"]]


def test_what_is_written_has_the_declared_types(tmp_path: Path) -> None:
    with stream(tmp_path) as files:
        files.write(rows([10]))
    assert pq.read_schema(files.paths[0]).types == BALANCES.schema.types


def test_rows_do_not_wait_beyond_their_share_of_memory(tmp_path: Path) -> None:
    with stream(tmp_path, WaitingRows(1)) as files:
        files.write(rows([10]))
        files.write(rows([10]))
    assert pq.read_metadata(files.paths[0]).num_row_groups == 2


def test_streams_side_by_side_share_what_may_wait(tmp_path: Path) -> None:
    one = rows([10])
    waiting = WaitingRows(2 * one.nbytes + 1)
    with stream(tmp_path, waiting) as first, stream(tmp_path, waiting) as second:
        first.write(one)
        second.write(one)
        assert first.waiting_bytes + second.waiting_bytes == one.nbytes


def test_a_row_group_that_cannot_be_written_fails_the_stream(tmp_path: Path) -> None:
    files = stream(tmp_path)
    (tmp_path / "data" / "a" / "as_of_month=2026-10-01").write_text("no folder")
    files.write(rows([10]))
    with pytest.raises(FileExistsError):
        files.close()


def test_a_file_ends_after_some_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_files, "ROW_GROUPS_PER_FILE", 2)
    with stream(tmp_path, WaitingRows(1)) as files:
        for _ in range(5):
            files.write(rows([10]))
    assert [pq.read_metadata(path).num_row_groups for path in files.paths] == [2, 2, 1]


def test_more_partitions_than_open_files_lose_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_files, "MAX_OPEN_FILES", 2)
    with stream(tmp_path, WaitingRows(1)) as files:
        for _ in range(2):
            files.write(rows([*range(1, 13)]))
    assert sum(pq.read_metadata(path).num_rows for path in files.paths) == 24


def test_a_relation_is_sorted_as_the_table_declares(tmp_path: Path) -> None:
    with duckdb.connect() as connection, stream(tmp_path) as files:
        connection.execute("SET TimeZone = 'UTC'")
        files.copy(balances(connection, count=1000))
    accounts = pq.ParquetFile(files.paths[0]).read(["account_id"])[0].to_pylist()
    assert accounts == sorted(accounts)


def test_a_relation_that_is_fetched_whole_is_the_same(tmp_path: Path) -> None:
    with duckdb.connect() as connection, stream(tmp_path) as files:
        connection.execute("SET TimeZone = 'UTC'")
        given = balances(connection, count=10_000)
        files.copy(given, is_whole=True)
        ordered = given.order("account_id").to_arrow_table()
    expected = ordered.select(BALANCES.schema.names).cast(BALANCES.schema)
    assert pq.ParquetFile(files.paths[0]).read() == expected


def test_a_column_too_many_is_refused(tmp_path: Path) -> None:
    with stream(tmp_path) as files, pytest.raises(AuditFailedError, match="beyond its declaration"):
        files.write(rows([10]).append_column("other", pa.nulls(1)))


def test_after_a_failure_what_waits_is_not_written(tmp_path: Path) -> None:
    def fail() -> None:
        with stream(tmp_path) as files:
            files.write(rows([10]))
            raise ValueError("The source broke.")

    with pytest.raises(ValueError, match="The source broke"):
        fail()
    assert [*tmp_path.rglob("*.parquet")] == []
