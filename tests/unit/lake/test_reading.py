"""The query over a snapshot's files has exactly the declared columns."""

import duckdb
import pyarrow as pa
import pytest

from pipeline_platform.advisory_performance.tables import TABLES
from pipeline_platform.failures import PermanentError
from pipeline_platform.lake.column_types import duckdb_type
from pipeline_platform.lake.reading import select_files
from pipeline_platform.lake.tables import LakeTable


def table_of(*fields):
    return LakeTable("sample", "gold", "sample", pa.schema(fields), "A sample.")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_without_files_the_rows_are_none_but_the_columns_are_the_declared_ones(table):
    rows = duckdb.sql(select_files(table, [], mixed=False))
    assert [str(kind) for kind in rows.types] == [duckdb_type(column) for column in table.schema]


def test_a_column_that_older_files_lack_is_null(tmp_path):
    for name, query in {"old": "SELECT 1 AS a", "new": "SELECT 2 AS a, 'x' AS b"}.items():
        duckdb.sql(query).to_parquet(str(tmp_path / f"{name}.parquet"))
    table = table_of(pa.field("a", pa.int32()), pa.field("b", pa.string()))
    files = [str(tmp_path / "old.parquet"), str(tmp_path / "new.parquet")]
    rows = duckdb.sql(select_files(table, files, mixed=True)).order("a").fetchall()
    assert rows == [(1, None), (2, "x")]


def test_a_column_that_all_files_lack_is_null(tmp_path):
    duckdb.sql("SELECT 1 AS a").to_parquet(str(tmp_path / "old.parquet"))
    table = table_of(pa.field("a", pa.int32()), pa.field("b", pa.string()))
    query = select_files(table, [str(tmp_path / "old.parquet")], mixed=True)
    assert duckdb.sql(query).fetchall() == [(1, None)]


def test_a_path_with_a_quote_is_read(tmp_path):
    path = str(tmp_path / "it's.parquet")
    duckdb.sql("SELECT 1 AS a").to_parquet(path)
    query = select_files(table_of(pa.field("a", pa.int32())), [path], mixed=False)
    assert duckdb.sql(query).fetchall() == [(1,)]


def test_a_type_that_the_lake_does_not_know_is_refused():
    with pytest.raises(PermanentError, match="duration"):
        duckdb_type(pa.field("elapsed", pa.duration("s")))
