"""An index of a partitioned table is built without locking it, partition by partition (D-2)."""

import psycopg
import pytest

from pipeline_platform.failures import ConflictError, NotFoundError
from pipeline_platform.warehouse.indexes import (
    build_index,
    index_definitions,
    remove_invalid_indexes,
)
from pipeline_platform.warehouse.partitions import create_monthly_partition

COLUMNS = "(currency, as_of_date DESC) WHERE currency IS NOT NULL"


@pytest.fixture
def partitioned(database):
    with database.transaction() as connection:
        for month in ("2026-09-01", "2026-10-01"):
            create_monthly_partition(connection, "performance_data", month)
    return database


def ask(database, query):
    with database.connection() as connection:
        return connection.execute(query).fetchall()


def leave_invalid_index(database, name):
    """What a killed CREATE INDEX CONCURRENTLY leaves behind."""
    with database.transaction() as connection:
        connection.execute(f"CREATE INDEX {name} ON performance_data_2026_10 (currency)")
        connection.execute(
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass"
        )


def test_the_runbooks_command_does_not_work_on_a_partitioned_table(partitioned):
    with (
        partitioned.autocommit_connection() as connection,
        pytest.raises(psycopg.errors.FeatureNotSupported, match="concurrently"),
    ):
        connection.execute("CREATE INDEX CONCURRENTLY by_currency ON performance_data (currency)")


def test_each_partition_gets_the_index_under_its_month(partitioned):
    built = build_index(partitioned, "performance_data", "by_currency", COLUMNS)

    assert built == ["by_currency_2026_09", "by_currency_2026_10"]


def test_the_parents_index_is_valid_once_all_parts_are_attached(partitioned):
    build_index(partitioned, "performance_data", "by_currency", COLUMNS)

    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_currency'::regclass"
    assert ask(partitioned, query) == [(True,)]


def test_building_again_builds_nothing(partitioned):
    build_index(partitioned, "performance_data", "by_currency", COLUMNS)

    assert build_index(partitioned, "performance_data", "by_currency", COLUMNS) == []


@pytest.mark.parametrize(
    "name",
    [
        "idx_performance_data_account_date",
        "idx_performance_data_reconciliation_status",
        "idx_performance_data_vendor_date",
    ],
)
def test_the_runbooks_indexes_are_there_already(partitioned, name):
    assert build_index(partitioned, "performance_data", name, "(account_id)") == []


def test_an_interrupted_build_is_finished(partitioned):
    with partitioned.autocommit_connection() as connection:
        connection.execute(f"CREATE INDEX by_currency ON ONLY performance_data {COLUMNS}")
        connection.execute(
            f"CREATE INDEX by_currency_2026_09 ON performance_data_2026_09 {COLUMNS}"
        )
        connection.execute("ALTER INDEX by_currency ATTACH PARTITION by_currency_2026_09")
    build_index(partitioned, "performance_data", "by_currency", COLUMNS)

    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_currency'::regclass"
    assert ask(partitioned, query) == [(True,)]


def test_an_invalid_leftover_is_removed_and_built_anew(partitioned):
    leave_invalid_index(partitioned, "by_currency_2026_10")
    build_index(partitioned, "performance_data", "by_currency", COLUMNS)

    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_currency_2026_10'::regclass"
    assert ask(partitioned, query) == [(True,)]


def test_leftovers_of_a_reindex_are_removed(partitioned):
    leave_invalid_index(partitioned, "idx_performance_data_vendor_date_2026_10_ccnew")
    with partitioned.autocommit_connection() as connection:
        removed = remove_invalid_indexes(connection, "performance_data")

    assert removed == ["idx_performance_data_vendor_date_2026_10_ccnew"]


def test_a_partition_made_later_has_the_index_too(partitioned):
    build_index(partitioned, "performance_data", "by_currency", COLUMNS)
    with partitioned.transaction() as connection:
        create_monthly_partition(connection, "performance_data", "2026-11-01")

    query = "SELECT to_regclass('by_currency_2026_11') IS NOT NULL"
    assert ask(partitioned, query) == [(True,)]


def test_two_builds_on_one_table_do_not_run_at_once(partitioned):
    with partitioned.autocommit_connection() as other:
        other.execute(
            "SELECT pg_advisory_lock(hashtextextended('build_index:performance_data', 0))"
        )
        with pytest.raises(ConflictError):
            build_index(partitioned, "performance_data", "by_currency", COLUMNS)


def test_a_table_that_does_not_exist_is_not_found(partitioned):
    with pytest.raises(NotFoundError):
        build_index(partitioned, "nowhere", "by_currency", COLUMNS)


def test_the_primary_key_comes_first(partitioned):
    with partitioned.connection() as connection:
        first = index_definitions(connection, "performance_data")[0]

    assert first.constraint == "PRIMARY KEY (account_id, as_of_date)"


def test_a_name_with_the_word_using_does_not_confuse_the_definition(database):
    with database.transaction() as connection:
        connection.execute('CREATE TABLE " USING " (day date) PARTITION BY RANGE (day)')
        connection.execute('CREATE UNIQUE INDEX "a USING b" ON " USING " (day)')
        found = index_definitions(connection, '" USING "')

    assert found[0].method_and_columns == "btree (day)"
