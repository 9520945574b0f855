"""From a served row back to the delivered line."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import psycopg
import pyarrow as pa
import pytest

from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.failures import NotFoundError
from pipeline_platform.quality.passport import Connection, Passport, trace
from pipeline_platform.quality.quarantine import QuarantinedRow, settle_rows
from tests.unit.quality.silver_rows import as_table, good_row

DAY = date(2026, 10, 15)
FIRST, CORRECTED = "aa" * 32, "bb" * 32
RECEIVED = {
    FIRST: datetime(2026, 10, 16, 4, tzinfo=UTC),
    CORRECTED: datetime(2026, 10, 18, 4, tzinfo=UTC),
}


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    """A served account-day that a second file corrected, and one more line held back."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard', now())")
        for sha256, name in ((FIRST, "first.csv"), (CORRECTED, "corrected.csv")):
            connection.execute(
                """
                INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, vendor, status,
                    size_bytes, arrived_at, processing_start_time, run_id, location)
                VALUES ('p', %s, %s, 'standard', 'COMPLETED', 1, %s, %s, %s, %s)
                """,
                (
                    name,
                    sha256,
                    RECEIVED[sha256],
                    RECEIVED[sha256],
                    f"run {name}",
                    f"archive/{name}",
                ),
            )
        connection.execute(
            "CREATE TABLE performance_data_test PARTITION OF performance_data"
            " FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')"
        )
        connection.execute(
            """
            INSERT INTO performance_data (account_id, as_of_date, data_source, market_value,
                reconciliation_status, source_file_sha256, source_line_number, run_id)
            VALUES ('A-100', %s, 'standard', 1050001, 'COMPLETED', %s, 7, 'run load')
            """,
            (DAY, CORRECTED),
        )
        held = QuarantinedRow(
            pipeline="p",
            hop="bronze_to_silver",
            file_sha256=FIRST,
            file_name="first.csv",
            vendor="standard",
            line_number=9,
            partition_key="2026-10-01",
            rule="currency_is_a_code",
            reason="currency: usd",
            column_name="currency",
            record=json.dumps({"account_id": "A-100", "as_of_date": DAY.isoformat()}),
            run_id="run",
        )
        settle_rows(
            connection, "p", held.hop, [held], now=RECEIVED[FIRST], partitions=["2026-10-01"]
        )
        yield connection


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def _bronze() -> pa.Table:
    lines = [(FIRST, 3, "1050000"), (CORRECTED, 7, "1050001"), (CORRECTED, 3, "5"), (FIRST, 7, "6")]
    return pa.Table.from_pylist(
        [
            {
                "account_id": "A-100",
                "as_of_date": DAY.isoformat(),
                "market_value": value,
                "record_type": "combined",
                "vendor": "standard",
                "file_name": "x.csv",
                "file_sha256": sha256,
                "line_number": line,
                "received_at": RECEIVED[sha256],
                "as_of_month": DAY.replace(day=1),
            }
            for sha256, line, value in lines
        ],
        schema=VENDOR_ROWS.schema,
    )


def _silver() -> pa.Table:
    versions = [
        (FIRST, 3, Decimal(1050000), RECEIVED[CORRECTED], False),
        (CORRECTED, 7, Decimal(1050001), None, True),
    ]
    rows = [
        good_row(
            "valuations",
            file_sha256=sha256,
            line_number=line,
            market_value=value,
            known_from=RECEIVED[sha256],
            known_to=known_to,
            is_current=is_current,
        )
        for sha256, line, value, known_to, is_current in versions
    ]
    other_day = good_row("valuations", as_of_date=date(2026, 10, 16))
    return as_table("valuations", [*rows, other_day])


def _trace(conn: Connection, engine: duckdb.DuckDBPyConnection, account: str = "A-100") -> Passport:
    engine.execute("SET TimeZone = 'UTC'")
    return trace(
        conn,
        "p",
        account,
        DAY,
        silver={"valuations": engine.from_arrow(_silver())},
        bronze=engine.from_arrow(_bronze()),
        serving_table="performance_data",
    )


def test_a_served_row_leads_to_its_file_line_and_run(
    conn: Connection, engine: duckdb.DuckDBPyConnection
) -> None:
    source = _trace(conn, engine).source
    assert source is not None
    assert (source.file_name, source.line_number, source.run_id, source.location) == (
        "corrected.csv",
        7,
        "run corrected.csv",
        "archive/corrected.csv",
    )


def test_the_delivered_text_is_shown(conn: Connection, engine: duckdb.DuckDBPyConnection) -> None:
    source = _trace(conn, engine).source
    assert source is not None
    assert source.record is not None
    assert source.record["market_value"] == "1050001"


def test_all_versions_are_shown_the_newest_first(
    conn: Connection, engine: duckdb.DuckDBPyConnection
) -> None:
    versions = _trace(conn, engine).versions
    assert [(one.file_sha256, one.is_current) for one in versions] == [
        (CORRECTED, True),
        (FIRST, False),
    ]


def test_every_line_behind_a_version_is_shown_and_no_other(
    conn: Connection, engine: duckdb.DuckDBPyConnection
) -> None:
    lines = _trace(conn, engine).lines
    assert [(one.file_name, one.line_number) for one in lines] == [
        ("first.csv", 3),
        ("corrected.csv", 7),
    ]


def test_what_was_held_back_for_the_account_and_day_is_shown(
    conn: Connection, engine: duckdb.DuckDBPyConnection
) -> None:
    assert [one["line_number"] for one in _trace(conn, engine).quarantined] == [9]


def test_a_row_that_is_not_served_yet_has_a_passport_without_source(
    conn: Connection, engine: duckdb.DuckDBPyConnection
) -> None:
    conn.execute("DELETE FROM performance_data")
    passport = _trace(conn, engine)
    assert (passport.served, passport.source, len(passport.versions)) == (None, None, 2)


@pytest.mark.parametrize("account", ["nobody", "' OR true --"])
def test_an_unknown_account_has_no_passport(
    conn: Connection, engine: duckdb.DuckDBPyConnection, account: str
) -> None:
    with pytest.raises(NotFoundError, match="Nothing is known"):
        _trace(conn, engine, account)
