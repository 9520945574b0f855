"""Rows of the default partition move to months of their own: all of them, or none (B-13, SA-35)."""

from datetime import date

import psycopg
import pytest

from pipeline_platform.failures import ConflictError, PermanentError
from pipeline_platform.warehouse.bulk_load import replace_month
from pipeline_platform.warehouse.default_partition import drain_month, stray_months
from tests.integration.warehouse.performance_rows import MONTH, performance_rows

OCTOBER, NOVEMBER = "performance_data_2026_10", "performance_data_2026_11"

MEDDLER = """
    CREATE FUNCTION skip_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE made record;
    BEGIN
        FOR made IN SELECT object_identity AS name FROM pg_event_trigger_ddl_commands()
            WHERE object_identity LIKE 'loading.%'
        LOOP
            EXECUTE format('CREATE TRIGGER skip BEFORE INSERT ON %s FOR EACH ROW '
                'WHEN (NEW.account_id = ''B'') EXECUTE FUNCTION skip_row()', made.name);
        END LOOP;
    END $$;
    CREATE EVENT TRIGGER meddle ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION meddle();
"""
"""Somebody else's rule: what is written to a table that is being built loses an account."""


@pytest.fixture
def warehouse(database):
    """Three rows of October and one of November lie in the default partition."""
    with database.transaction() as connection:
        connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard')")
        connection.execute("CREATE TABLE stray PARTITION OF performance_data DEFAULT")
        for account, day in (("A", "10-01"), ("A", "10-31"), ("B", "10-31"), ("A", "11-01")):
            connection.execute(
                "INSERT INTO performance_data"
                " (account_id, as_of_date, data_source, reconciliation_status)"
                " VALUES (%s, %s, 'standard', 'COMPLETED')",
                (account, f"2026-{day}"),
            )
    return database


def ask(database, query):
    with database.connection() as connection:
        return connection.execute(query).fetchall()


def everything(database):
    return ask(database, "SELECT * FROM performance_data ORDER BY account_id, as_of_date")


def places(database):
    return ask(
        database,
        "SELECT tableoid::regclass::text, count(*) FROM performance_data GROUP BY 1 ORDER BY 1",
    )


def strays(database):
    with database.connection() as connection:
        return stray_months(connection)


def drain(database):
    return [drain_month(database, one) for one in strays(database)]


def test_the_plan_names_months_and_rows(warehouse):
    found = [(one.table, one.month, one.rows, one.partition) for one in strays(warehouse)]
    assert found == [
        ("performance_data", date(2026, 10, 1), 3, OCTOBER),
        ("performance_data", date(2026, 11, 1), 1, NOVEMBER),
    ]


def test_without_a_default_partition_there_is_nothing_to_plan(database):
    assert strays(database) == []


def test_rows_move_to_partitions_of_their_months(warehouse):
    drain(warehouse)
    assert places(warehouse) == [(OCTOBER, 3), (NOVEMBER, 1)]


def test_no_row_is_lost_or_changed(warehouse):
    before = everything(warehouse)
    drain(warehouse)
    assert everything(warehouse) == before


def test_a_second_drain_has_nothing_to_do(warehouse):
    drain(warehouse)
    assert drain(warehouse) == []


def test_what_is_made_is_a_partition_like_any_other(warehouse):
    drain(warehouse)
    with warehouse.transaction() as connection:
        made = connection.execute(
            "SELECT create_monthly_partition('performance_data', '2026-10-05'),"
            " create_monthly_partition('performance_data', '2026-12-01')"
        ).fetchone()

    def facts(partition):
        indexes = ask(
            warehouse,
            "SELECT replace(indexrelid::regclass::text, right(indrelid::regclass::text, 8), ''),"
            f" indisvalid FROM pg_index WHERE indrelid = '{partition}'::regclass ORDER BY 1",
        )
        constraints = ask(
            warehouse,
            "SELECT contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
            f" WHERE conrelid = '{partition}'::regclass ORDER BY 1, 2",
        )
        return indexes, constraints

    assert facts(made[0]) == facts(made[1])


def test_a_month_in_the_default_partition_can_be_loaded_after_the_drain(warehouse):
    rows = performance_rows(2)
    with pytest.raises(PermanentError, match="maintenance drain"):
        replace_month(warehouse, MONTH, rows.to_reader(), on_commit=lambda _: None)
    drain(warehouse)
    assert replace_month(warehouse, MONTH, rows.to_reader(), on_commit=lambda _: None) == 56


def test_a_writer_that_does_not_end_is_a_conflict_and_nothing_moves(warehouse, database_url):
    with psycopg.connect(database_url) as other:
        other.execute("DELETE FROM performance_data WHERE account_id = 'B'")
        with pytest.raises(ConflictError, match="Writers of stray"):
            drain_month(warehouse, strays(warehouse)[0], wait_seconds=0.1)
        other.rollback()
    assert places(warehouse) == [("stray", 4)]


def test_a_reader_that_does_not_end_is_a_conflict_and_nothing_moves(warehouse, database_url):
    with psycopg.connect(database_url) as other:
        other.execute("SELECT count(*) FROM performance_data")
        with pytest.raises(ConflictError, match="no gap"):
            drain_month(warehouse, strays(warehouse)[0], wait_seconds=0.1)
        other.rollback()
    assert places(warehouse) == [("stray", 4)]


def test_what_was_built_is_compared_with_what_is_there_before_anything_goes(warehouse):
    with warehouse.transaction() as connection:
        connection.execute(MEDDLER)
    with pytest.raises(PermanentError, match="is not what lies in stray"):
        drain_month(warehouse, strays(warehouse)[0])
    assert places(warehouse) == [("stray", 4)]
