"""A month is replaced in whole or not at all, with everything that its parent demands."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import BadInputError, ConflictError, NotFoundError
from pipeline_platform.warehouse.binary_copy import copy_rows
from pipeline_platform.warehouse.bulk_load import replace_month
from pipeline_platform.warehouse.database import Database
from tests.examples import examples
from tests.integration.warehouse.performance_rows import MONTH, performance_rows

PARTITION = "performance_data_2026_10"


@pytest.fixture
def warehouse(database):
    with database.transaction() as connection:
        connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard')")
    return database


def load(database, rows=None, **options):
    rows = performance_rows() if rows is None else rows
    options.setdefault("on_commit", lambda _: None)
    month = options.pop("month", MONTH)
    return replace_month(database, month, rows.to_reader(), **options)


def ask(database, query):
    with database.connection() as connection:
        return connection.execute(query).fetchall()


def indexes_of(database, partition):
    return ask(
        database,
        f"""
        SELECT child.relname, parent.relname, x.indisvalid
        FROM pg_index AS x JOIN pg_class AS child ON child.oid = x.indexrelid
        LEFT JOIN pg_inherits AS i ON i.inhrelid = x.indexrelid
        LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
        WHERE x.indrelid = '{partition}'::regclass ORDER BY 1
        """,
    )


def constraints_of(database, partition):
    return ask(
        database,
        f"""
        SELECT conname, contype::text, convalidated, conparentid <> 0 FROM pg_constraint
        WHERE conrelid = '{partition}'::regclass AND contype IN ('c', 'f', 'p') ORDER BY 1
        """,
    )


def test_it_returns_the_number_of_rows(warehouse):
    assert load(warehouse) == 280


def test_the_rows_are_in_the_months_partition(warehouse):
    load(warehouse)

    assert ask(warehouse, f"SELECT count(*) FROM {PARTITION}") == [(280,)]


def test_a_second_load_replaces_the_first(warehouse):
    load(warehouse, performance_rows(value=1))
    load(warehouse, performance_rows(accounts=2, value=2))

    query = "SELECT count(*), min(market_value), max(market_value) FROM performance_data"
    assert ask(warehouse, query) == [(56, 2, 2)]


def test_other_months_stay_as_they_were(warehouse):
    september = date(2026, 9, 1)
    load(warehouse, performance_rows(month=september), month=september)
    load(warehouse)
    load(warehouse)

    query = "SELECT count(*) FROM performance_data_2026_09"
    assert ask(warehouse, query) == [(280,)]


def test_any_day_stands_for_its_month(warehouse):
    load(warehouse, month=date(2026, 10, 17))

    assert ask(warehouse, f"SELECT count(*) FROM {PARTITION}") == [(280,)]


def test_a_month_can_become_empty(warehouse):
    load(warehouse)
    load(warehouse, performance_rows(accounts=0))

    assert ask(warehouse, "SELECT count(*) FROM performance_data") == [(0,)]


def test_a_loaded_partition_has_the_runbooks_indexes_attached_to_the_parents(warehouse):
    load(warehouse)
    load(warehouse)

    names = ("account_date", "reconciliation_status", "vendor_date")
    assert indexes_of(warehouse, PARTITION) == [
        (f"idx_performance_data_{name}_2026_10", f"idx_performance_data_{name}", True)
        for name in names
    ]


def test_a_loaded_partition_is_like_one_made_empty(warehouse):
    with warehouse.transaction() as connection:
        connection.execute("SELECT create_monthly_partition('performance_data', '2026-10-01')")
    made = constraints_of(warehouse, PARTITION)
    load(warehouse)

    assert [row[1:] for row in constraints_of(warehouse, PARTITION)] == [row[1:] for row in made]


def test_attaching_reads_no_rows(warehouse):
    notices = []
    talkative = warehouse.url + "?options=-c%20client_min_messages%3Ddebug1"
    with Database(talkative, 1) as database:
        with database.connection() as only_one:
            only_one.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        load(database)

    assert any("implied by existing constraints" in notice for notice in notices)


def test_nothing_is_left_in_the_loading_schema(warehouse):
    load(warehouse)

    query = "SELECT count(*) FROM pg_class WHERE relnamespace = 'loading'::regnamespace"
    assert ask(warehouse, query) == [(0,)]


def test_what_on_commit_writes_is_committed_with_the_rows(warehouse):
    load(warehouse, on_commit=lambda c: c.execute("INSERT INTO vendors VALUES ('new', 'New')"))

    assert ask(warehouse, "SELECT count(*) FROM vendors WHERE vendor = 'new'") == [(1,)]


def test_on_commit_sees_the_new_rows(warehouse):
    seen = []

    def look(connection):
        seen.extend(connection.execute("SELECT count(*) FROM performance_data").fetchone())

    load(warehouse, on_commit=look)

    assert seen == [280]


def test_when_on_commit_fails_the_old_month_stays(warehouse):
    load(warehouse, performance_rows(value=1))
    with pytest.raises(NotFoundError):
        load(warehouse, performance_rows(value=2), on_commit=_fail)

    assert ask(warehouse, "SELECT DISTINCT market_value FROM performance_data") == [(1,)]


def _fail(_):
    raise NotFoundError("The register does not know the month.")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (performance_rows(month=date(2026, 11, 1)), "rows_of_month"),
        (pa.concat_tables([performance_rows(1), performance_rows(1)]), "idx_performance_data"),
        (performance_rows(data_source="nobody"), "vendors"),
        (performance_rows(reconciliation_status="MATCHED"), "reconciliation_status"),
        (performance_rows(reconciliation_status=None), "reconciliation_status"),
        (performance_rows(market_value=1e17), "DECIMAL"),
        (performance_rows(market_value="many"), "many"),
        (performance_rows(currency="NUL\0"), "NULL-byte"),
        (performance_rows(surprise=1), "no column surprise"),
    ],
    ids=[
        "other_month",
        "duplicate_key",
        "unknown_vendor",
        "unknown_status",
        "no_status",
        "too_large",
        "no_number",
        "nul_character",
        "unknown_column",
    ],
)
def test_rows_that_the_table_does_not_take_are_refused_with_the_reason(warehouse, rows, says):
    with pytest.raises(BadInputError, match=says):
        load(warehouse, rows)


def test_a_refused_load_leaves_the_old_month(warehouse):
    load(warehouse, performance_rows(value=1))
    with pytest.raises(BadInputError):
        load(warehouse, performance_rows(data_source="nobody"))

    assert ask(warehouse, "SELECT DISTINCT market_value FROM performance_data") == [(1,)]


def test_a_source_that_breaks_off_loads_nothing(warehouse):
    rows = performance_rows()

    def broken():
        yield from rows.to_batches(max_chunksize=50)[:3]
        raise OSError("The file is gone.")

    reader = pa.RecordBatchReader.from_batches(rows.schema, broken())
    with pytest.raises(Exception, match="The file is gone"):
        replace_month(warehouse, MONTH, reader, on_commit=lambda _: None)

    assert ask(warehouse, "SELECT count(*) FROM performance_data") == [(0,)]


def test_a_duckdb_relation_is_loaded_as_it_is(warehouse):
    with duckdb.connect() as engine:
        rows = performance_rows()
        loaded = replace_month(warehouse, MONTH, engine.from_arrow(rows), on_commit=lambda _: None)

    assert loaded == 280


def test_missing_columns_take_their_default(warehouse):
    load(warehouse)

    query = (
        "SELECT DISTINCT is_estimated, created_at > now() - interval '1 hour' FROM performance_data"
    )
    assert ask(warehouse, query) == [(False, True)]


def test_the_rows_are_visible_to_the_planner_at_once(warehouse):
    load(warehouse)

    query = f"SELECT reltuples FROM pg_class WHERE relname = '{PARTITION}'"
    assert ask(warehouse, query) == [(280,)]


def test_the_same_month_loaded_twice_at_once_is_one_of_the_two(warehouse):
    threads = [
        threading.Thread(target=load, args=(warehouse, performance_rows(value=value)))
        for value in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = ask(warehouse, "SELECT count(*), count(DISTINCT market_value) FROM performance_data")
    assert found == [(280, 1)]


def test_different_months_are_loaded_at_once(warehouse):
    months = [date(2026, month, 1) for month in (7, 8, 9)]
    threads = [
        threading.Thread(
            target=load, args=(warehouse, performance_rows(month=month)), kwargs={"month": month}
        )
        for month in months
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ask(warehouse, "SELECT count(*) FROM performance_data") == [(3 * 280,)]


def test_a_reader_that_does_not_end_is_a_conflict_and_the_old_month_stays(warehouse):
    load(warehouse, performance_rows(value=1))
    with warehouse.connection() as reader:
        reader.execute("SELECT count(*) FROM performance_data")
        with pytest.raises(ConflictError, match="no gap"):
            load(warehouse, performance_rows(value=2), wait_seconds=0.3)

    assert ask(warehouse, "SELECT DISTINCT market_value FROM performance_data") == [(1,)]


def test_a_reader_sees_the_old_month_while_the_new_one_is_loaded(warehouse):
    load(warehouse, performance_rows(value=1))
    seen = []

    def batches():
        with warehouse.connection() as reader:
            query = "SELECT DISTINCT market_value FROM performance_data"
            seen.extend(reader.execute(query).fetchall())
        yield from performance_rows(value=2).to_batches()

    source = pa.RecordBatchReader.from_batches(performance_rows(value=2).schema, batches())
    replace_month(warehouse, MONTH, source, on_commit=lambda _: None)

    assert seen == [(1,)]


def test_a_table_that_does_not_exist_is_not_found(warehouse):
    with pytest.raises(NotFoundError):
        load(warehouse, table="nowhere")


def test_every_type_arrives_as_it_was_sent(database):
    row = {
        "t": 'semi;colon "quote" \\ \t \n é 🙂',
        "d": date(1999, 12, 31),
        "b": True,
        "i": -(2**31),
        "l": 2**63 - 1,
        "f": 1.5,
        "n": Decimal("-123456.123456789012"),
        "z": datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
    }
    with database.transaction() as connection:
        connection.execute(
            "CREATE TABLE types (t text, d date, b boolean, i integer, l bigint,"
            " f double precision, n numeric(18, 12), z timestamptz)"
        )
        copy_rows(connection, "public", "types", pa.Table.from_pylist([row]).to_reader())

    assert ask(database, "SELECT * FROM types") == [tuple(row.values())]


def test_decimals_are_exact_whatever_they_are(database):
    with database.transaction() as connection:
        connection.execute("CREATE TABLE exact (position integer, value numeric(18, 12))")

    @given(
        st.lists(
            st.decimals(-999_999, 999_999, places=12, allow_nan=False) | st.none(),
            min_size=1,
            max_size=50,
        )
    )
    @examples(8)
    def arrives(values):
        rows = pa.table(
            {
                "position": pa.array(range(len(values)), pa.int32()),
                "value": pa.array(values, pa.decimal128(18, 12)),
            }
        )
        with database.transaction() as connection:
            connection.execute("TRUNCATE exact")
            copy_rows(connection, "public", "exact", rows.to_reader())
            found = connection.execute("SELECT value FROM exact ORDER BY position").fetchall()
        assert [row[0] for row in found] == values

    arrives()
