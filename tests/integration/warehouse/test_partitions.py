"""`create_monthly_partition` does what the runbook's version failed to do (D-1)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import psycopg
import pytest

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.warehouse.partitions import create_monthly_partition, premake_months

INDEXES = (
    "idx_performance_data_account_date",
    "idx_performance_data_reconciliation_status",
    "idx_performance_data_vendor_date",
)


@pytest.fixture
def connection(database_url):
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def create(connection, table="performance_data", day="2026-10-01"):
    """Call it as the runbook does."""
    return connection.execute("SELECT create_monthly_partition(%s, %s)", (table, day)).fetchone()[0]


def bounds(connection, partition):
    return connection.execute(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = to_regclass(%s)",
        (partition,),
    ).fetchone()[0]


def children(connection, table="performance_data"):
    found = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"
        " ORDER BY 1",
        (table,),
    )
    return [row[0] for row in found]


def insert(connection, day, status="'COMPLETED'", vendor="standard"):
    connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard') ON CONFLICT DO NOTHING")
    connection.execute(
        "INSERT INTO performance_data (account_id, as_of_date, data_source, reconciliation_status)"
        f" VALUES ('A', '{day}', '{vendor}', {status})"
    )


def test_it_returns_the_name_of_the_partition(connection):
    assert create(connection) == "performance_data_2026_10"


def test_the_partition_covers_exactly_the_month(connection):
    create(connection)

    expected = "FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')"
    assert bounds(connection, "performance_data_2026_10") == expected


def test_december_ends_with_the_year(connection):
    create(connection, day="2026-12-31")

    expected = "FOR VALUES FROM ('2026-12-01') TO ('2027-01-01')"
    assert bounds(connection, "performance_data_2026_12") == expected


def test_a_second_call_changes_nothing(connection):
    create(connection)
    create(connection)

    assert children(connection) == ["performance_data_2026_10"]


def test_any_day_stands_for_its_month(connection):
    create(connection, day="2026-10-15")

    expected = "FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')"
    assert bounds(connection, "performance_data_2026_10") == expected


def test_the_next_month_can_be_made_after_a_day_within_this_one(connection):
    create(connection, day="2026-10-15")
    create(connection, day="2026-11-01")

    assert children(connection) == ["performance_data_2026_10", "performance_data_2026_11"]


@pytest.mark.parametrize("name", ["public.performance_data", '"public"."performance_data"'])
def test_the_table_may_be_named_with_its_schema(connection, name):
    create(connection, table=name)

    assert children(connection) == ["performance_data_2026_10"]


def test_a_table_of_another_schema_gets_its_partition_there(connection):
    connection.execute("CREATE SCHEMA other")
    connection.execute("CREATE TABLE other.t (day date) PARTITION BY RANGE (day)")
    create(connection, table="other.t")

    assert children(connection, "other.t") == ["other.t_2026_10"]


@pytest.mark.parametrize(
    "name", ["Odd Name", "semi;colon", 'quo"te', "t'); DROP TABLE vendors; --"]
)
def test_any_name_of_a_table_is_safe(connection, name):
    quoted = '"' + name.replace('"', '""') + '"'
    connection.execute(f"CREATE TABLE {quoted} (day date) PARTITION BY RANGE (day)")

    assert create(connection, table=name) == f"{name}_2026_10"


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_a_table_partitioned_by_an_instant_works_twice(connection, kind):
    connection.execute("SET timezone = 'America/New_York'")
    connection.execute(f"CREATE TABLE t (at {kind}) PARTITION BY RANGE (at)")
    create(connection, table="t")

    assert create(connection, table="t") == "t_2026_10"


@pytest.mark.parametrize(
    "day", ["YYYY-MM-DD", "2026-13-01", "2026-02-30", "2026-1-1", "", "yesterday", "01.10.2026"]
)
def test_what_is_no_date_is_said_to_be_none(connection, day):
    with pytest.raises(psycopg.errors.InvalidDatetimeFormat, match="not a date; write any day"):
        create(connection, day=day)


def test_a_missing_date_is_an_error(connection):
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="month is missing"):
        create(connection, day=None)


@pytest.mark.parametrize("name", ["nowhere", "no.such.table.at.all", "a b", ""])
def test_a_table_that_does_not_exist_is_named(connection, name):
    with pytest.raises(psycopg.errors.UndefinedTable, match=f'Table "{name}" does not exist'):
        create(connection, table=name)


@pytest.mark.parametrize(
    "definition",
    ["(day date)", "(day date) PARTITION BY LIST (day)", "(day int) PARTITION BY RANGE (day)"],
)
def test_a_table_that_is_not_partitioned_by_date_is_refused(connection, definition):
    connection.execute(f"CREATE TABLE t {definition}")

    with pytest.raises(psycopg.errors.WrongObjectType, match="not partitioned by range"):
        create(connection, table="t")


def test_a_table_that_has_the_name_but_is_no_partition_is_not_taken_for_one(connection):
    connection.execute("CREATE TABLE performance_data_2026_10 ()")

    with pytest.raises(psycopg.errors.DuplicateTable, match="is not a partition"):
        create(connection)


def test_a_partition_with_other_bounds_is_not_taken_for_the_month(connection):
    connection.execute(
        "CREATE TABLE performance_data_2026_10 PARTITION OF performance_data"
        " FOR VALUES FROM ('2026-10-15') TO ('2026-11-15')"
    )

    with pytest.raises(psycopg.errors.DuplicateTable, match="other bounds"):
        create(connection)


def test_a_name_that_would_be_cut_is_refused(connection):
    name = "t" * 60
    connection.execute(f"CREATE TABLE {name} (day date) PARTITION BY RANGE (day)")

    with pytest.raises(psycopg.errors.NameTooLong):
        create(connection, table=name)


def test_concurrent_callers_make_it_once(database_url):
    def call(_):
        with psycopg.connect(database_url, autocommit=True) as own:
            return create(own)

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(call, range(6))) == {"performance_data_2026_10"}


def test_readers_of_other_months_are_not_blocked_while_one_is_made(connection, database_url):
    create(connection, day="2026-09-01")
    with psycopg.connect(database_url) as maker:
        create(maker)
        connection.execute("SET lock_timeout = '100ms'")

        assert connection.execute("SELECT count(*) FROM performance_data").fetchone() == (0,)


@pytest.mark.parametrize("index", INDEXES)
def test_parent_and_partition_have_the_runbooks_indexes_by_name(connection, index):
    create(connection)
    found = connection.execute(
        """
        SELECT parent.relname, child.relname, x.indisvalid FROM pg_inherits AS i
        JOIN pg_class AS parent ON parent.oid = i.inhparent
        JOIN pg_class AS child ON child.oid = i.inhrelid
        JOIN pg_index AS x ON x.indexrelid = child.oid
        WHERE parent.relname = %s
        """,
        (index,),
    ).fetchall()

    assert found == [(index, f"{index}_2026_10", True)]


def test_the_partial_index_covers_only_what_is_not_completed(connection):
    create(connection)
    found = connection.execute(
        "SELECT indexdef FROM pg_indexes"
        " WHERE indexname = 'idx_performance_data_reconciliation_status_2026_10'"
    ).fetchone()

    assert found[0].endswith(
        "(reconciliation_status, as_of_date) WHERE (reconciliation_status <> 'COMPLETED'::text)"
    )


def test_rows_go_into_their_months_partition(connection):
    create(connection)
    insert(connection, "2026-10-31")

    assert connection.execute("SELECT count(*) FROM performance_data_2026_10").fetchone() == (1,)


def test_a_status_must_be_given(connection):
    create(connection)

    with pytest.raises(psycopg.errors.NotNullViolation):
        insert(connection, "2026-10-01", status="NULL")


@pytest.mark.parametrize("status", ["MATCHED", "completed", ""])
def test_a_status_must_be_one_of_the_closed_set(connection, status):
    create(connection)

    with pytest.raises(psycopg.errors.CheckViolation):
        insert(connection, "2026-10-01", status=f"'{status}'")


def test_a_source_must_be_a_known_vendor(connection):
    create(connection)

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        insert(connection, "2026-10-01", vendor="nobody")


def test_months_are_made_ahead_over_the_turn_of_the_year(connection):
    made = premake_months(connection, "performance_data", date(2026, 11, 20), 3)

    assert made == [f"performance_data_{m}" for m in ("2026_11", "2026_12", "2027_01", "2027_02")]


def test_making_ahead_reports_only_what_was_missing(connection):
    premake_months(connection, "performance_data", date(2026, 11, 20), 1)

    made = premake_months(connection, "performance_data", date(2026, 12, 1), 1)
    assert made == ["performance_data_2027_01"]


def test_a_table_that_does_not_exist_is_not_found(connection):
    with pytest.raises(NotFoundError, match="nowhere"):
        create_monthly_partition(connection, "nowhere", date(2026, 10, 1))


def test_a_day_that_does_not_exist_is_bad_input(connection):
    with pytest.raises(BadInputError, match="2026-02-30"):
        create_monthly_partition(connection, "performance_data", "2026-02-30")
