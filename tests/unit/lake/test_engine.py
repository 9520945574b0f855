"""DuckDB connections are bounded, offline and in UTC."""

import duckdb
import pytest

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.lake.engine import connect, load_extension, options, sql_name, sql_text
from pipeline_platform.settings import Settings


@pytest.fixture
def local_settings(tmp_path):
    return Settings(home=tmp_path, memory_limit="300MB", threads=1)


def setting(con, name):
    return con.sql(f"SELECT current_setting('{name}')").fetchall()[0][0]


def test_instants_are_in_utc(local_settings):
    with connect(local_settings) as con:
        assert setting(con, "TimeZone") == "UTC"


def test_duckdb_gets_half_of_the_memory_limit(local_settings):
    with connect(local_settings) as con:
        assert setting(con, "memory_limit") == "143.0 MiB"


def test_memory_limit_of_a_connection_replaces_that_of_the_settings(local_settings):
    with connect(local_settings, memory_limit="100MB") as con:
        assert setting(con, "memory_limit") == "95.3 MiB"


def test_nothing_is_fetched_from_the_network(local_settings):
    with connect(local_settings) as con:
        assert setting(con, "autoinstall_known_extensions") is False


def test_two_connections_never_share_a_spill_folder(local_settings):
    folders = {options(local_settings)["temp_directory"] for _ in range(2)}
    assert len(folders) == 2


def test_what_exceeds_the_memory_limit_spills(local_settings):
    with connect(local_settings, memory_limit="60MB") as con:
        con.execute(
            "CREATE TABLE t AS SELECT md5(i::VARCHAR) h FROM range(2_000_000) r(i) ORDER BY h"
        )
        spilled = con.sql("SELECT sum(size) FROM duckdb_temporary_files()").fetchall()[0][0]
    assert spilled > 0


def test_an_extension_is_loaded_from_its_wheel(local_settings):
    with connect(local_settings) as con:
        load_extension(con, "postgres_scanner")
        loaded = con.sql(
            "SELECT loaded FROM duckdb_extensions() WHERE extension_name = 'postgres_scanner'"
        )
        assert loaded.fetchall() == [(True,)]


def test_a_missing_extension_is_named(local_settings):
    with connect(local_settings) as con, pytest.raises(InvalidSettingError, match="no_such_thing"):
        load_extension(con, "no_such_thing")


@pytest.mark.parametrize("text", ["plain", "it's", 'a "quoted" one', "'; DROP TABLE x; --"])
def test_a_quoted_string_is_read_back_as_it_was(text):
    assert duckdb.sql(f"SELECT {sql_text(text)}").fetchall() == [(text,)]


@pytest.mark.parametrize("name", ["plain", 'with "quotes"', "two words"])
def test_a_quoted_name_is_read_back_as_it_was(name):
    assert duckdb.sql(f"SELECT 1 AS {sql_name(name)}").columns == [name]
