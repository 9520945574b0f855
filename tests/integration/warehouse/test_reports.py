"""The runbook's reports, also where its own queries failed (D-4, D-7, D-9)."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import NotFoundError
from pipeline_platform.warehouse import reports
from pipeline_platform.warehouse.partitions import create_monthly_partition
from tests.examples import examples

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture
def connection(database):
    with database.connection() as opened:
        yield opened


def issue(connection, *, kind="range", actual=None, severity="warning", age_hours=1.0):
    connection.execute(
        "INSERT INTO data_quality_issues"
        " (created_at, pipeline, severity, issue_type, actual_value) VALUES (%s, 'p', %s, %s, %s)",
        (NOW - timedelta(hours=age_hours), severity, kind, actual),
    )


def run(connection, name, *, age_hours=1.0, minutes=5):
    start = NOW - timedelta(hours=age_hours)
    connection.execute(
        "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, status, size_bytes,"
        " arrived_at, processing_start_time, processing_end_time, run_id)"
        " VALUES ('p', %(name)s, %(name)s, 'PUBLISHED', 1, %(start)s, %(start)s, %(end)s, 'r')",
        {"name": name, "start": start, "end": start + timedelta(minutes=minutes)},
    )


def average(connection, *values):
    for value in values:
        issue(connection, actual=value)
    return reports.issues_by_type(connection, NOW)[0]["average_actual_value"]


def test_recent_runs_come_newest_first(connection):
    run(connection, "older", age_hours=3)
    run(connection, "newer", age_hours=1)

    assert [row["file_name"] for row in reports.recent_etl_runs(connection, NOW)] == [
        "newer",
        "older",
    ]


def test_recent_runs_are_those_of_the_last_day(connection):
    run(connection, "yesterday", age_hours=25)

    assert reports.recent_etl_runs(connection, NOW) == []


def test_a_runs_duration_is_derived(connection):
    run(connection, "file", minutes=5)

    assert reports.recent_etl_runs(connection, NOW)[0]["duration_seconds"] == 300


def test_issues_are_counted_by_day_and_severity_newest_and_worst_first(connection):
    issue(connection, severity="info", age_hours=30)
    issue(connection, severity="warning")
    issue(connection, severity="critical")
    issue(connection, severity="critical")
    rows = reports.issues_by_day_and_severity(connection, NOW)

    found = [(str(row["issue_date"]), row["severity"], row["issue_count"]) for row in rows]
    assert found == [
        ("2026-11-21", "critical", 2),
        ("2026-11-21", "warning", 1),
        ("2026-11-20", "info", 1),
    ]


def test_issues_older_than_seven_days_are_left_out(connection):
    issue(connection, age_hours=24 * 7 + 1)

    assert reports.issues_by_day_and_severity(connection, NOW) == []


def test_a_value_that_only_looks_like_a_number_does_not_break_the_mean(connection):
    assert average(connection, "1.2.3", "2", "4") == 3


def test_negative_and_scientific_values_count(connection):
    assert average(connection, "-1", "1e3") == 499.5


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "-",
        "e5",
        "NaN",
        "Infinity",
        "1e999999",
        "0x1F",
        "1_000",
        "\u0661",
        "1,5",
        "9" * 999,
    ],
)
def test_what_is_no_number_is_left_out_of_the_mean(connection, value):
    assert average(connection, value, "7") == 7


def test_the_mean_of_no_numbers_is_unknown(connection):
    assert average(connection, "many", None) is None


def test_the_report_says_how_many_values_the_mean_is_of(connection):
    average(connection, "1", "2", "many")

    row = reports.issues_by_type(connection, NOW)[0]
    assert (row["issue_count"], row["numeric_count"]) == (3, 2)


def test_no_value_whatever_breaks_the_conversion(database):
    @given(st.text(alphabet="0123456789.eE+- x", max_size=12))
    @examples(60)
    def never_fails(value):
        with database.connection() as connection:
            found = connection.execute("SELECT numeric_or_null(%s)", (value,)).fetchone()[0]
            assert found is None or float(found) == pytest.approx(float(value))

    never_fails()


def test_connections_are_counted_against_the_servers_limit(connection):
    row = reports.active_connections(connection)

    assert row["max_connections"] == 100


def test_our_own_query_is_active(connection):
    assert reports.active_connections(connection)["active_count"] >= 1


def test_an_idle_session_is_no_slow_query(connection, database):
    with database.connection() as idle:
        idle.execute("SELECT 1")
        time.sleep(0.05)
        found = reports.slow_queries(connection, minutes=0.0005)

    assert not [row for row in found if row["state"] != "active"]


def test_a_query_at_work_is_found_with_its_text(connection, database):
    def sleep():
        with database.connection() as own:
            own.execute("SELECT pg_sleep(1.5), 'found me'")

    thread = threading.Thread(target=sleep)
    thread.start()
    found = []
    while thread.is_alive() and not found:
        rows = reports.slow_queries(connection, minutes=0.001)
        found = [row for row in rows if "found me" in row["query"]]
        connection.rollback()
    thread.join()

    assert found


def test_partition_sizes_are_those_of_partitions_only(connection):
    create_monthly_partition(connection, "performance_data", "2026-10-01")
    connection.execute("CREATE TABLE performance_data_quality ()")
    connection.execute("CREATE TABLE performance_dataX2026_11 ()")

    names = [row["partition_name"] for row in reports.partition_sizes(connection)]
    assert names == ["performance_data_2026_10"]


def test_partitions_of_any_table_are_told_with_its_name(connection):
    create_monthly_partition(connection, "performance_data", "2026-10-01")
    connection.execute("CREATE TABLE meters (day date) PARTITION BY RANGE (day)")
    connection.execute("CREATE TABLE meters_old PARTITION OF meters DEFAULT")

    found = [
        (row["table_name"], row["partition_name"]) for row in reports.partition_sizes(connection)
    ]
    assert sorted(found) == [
        ("meters", "meters_old"),
        ("performance_data", "performance_data_2026_10"),
    ]


def test_partitions_of_one_table_can_be_asked_for(connection):
    create_monthly_partition(connection, "performance_data", "2026-10-01")
    connection.execute("CREATE TABLE meters (day date) PARTITION BY RANGE (day)")

    assert reports.partition_sizes(connection, "meters") == []


@pytest.mark.parametrize("table", ["vendors", "no_such", ""])
def test_a_table_without_partitions_is_not_found(connection, table):
    with pytest.raises(NotFoundError, match="no partitioned table"):
        reports.partition_sizes(connection, table)


def test_the_largest_partition_comes_first(connection):
    for month in ("2026-09-01", "2026-10-01"):
        create_monthly_partition(connection, "performance_data", month)
    connection.execute("INSERT INTO vendors VALUES ('v', 'v')")
    connection.execute(
        "INSERT INTO performance_data (account_id, as_of_date, data_source, reconciliation_status)"
        " SELECT 'A' || i, '2026-10-01', 'v', 'COMPLETED' FROM generate_series(1, 500) AS i"
    )

    first = reports.partition_sizes(connection)[0]
    assert first["partition_name"] == "performance_data_2026_10"


@pytest.mark.parametrize(
    "view",
    [
        "recent_etl_runs",
        "issues_by_day_and_severity",
        "issues_by_type",
        "active_connections",
        "slow_queries",
        "partition_sizes",
    ],
)
def test_each_report_is_a_view_for_psql(connection, view):
    connection.execute(f"SELECT * FROM {view}")

    assert connection.info.transaction_status.name == "INTRANS"


def hold_row(connection, at, pipeline="p"):
    connection.execute(
        "INSERT INTO quarantined_rows (pipeline, hop, file_sha256, file_name, line_number, rule,"
        " reason, run_id, quarantined_at) VALUES (%s, 'h', 'f', 'f',"
        " (SELECT count(*) FROM quarantined_rows), 'r', 'r', 'r', %s)",
        (pipeline, at),
    )


def hold_file(connection, at):
    connection.execute(
        "INSERT INTO quarantined_files (pipeline, file_sha256, file_name, rule, reason,"
        " quarantined_at) VALUES ('p', %s, 'f', 'r', 'r', %s)",
        (str(at), at),
    )


def fail_read(connection, at, outcome="FAILED"):
    connection.execute(
        "INSERT INTO stream_reads (pipeline, stream, read_at, outcome, run_id)"
        " VALUES ('p', 's', %s, %s, 'r')",
        (at, outcome),
    )


def test_errors_are_counted_by_five_minutes_of_the_last_two_hours(connection):
    bins = reports.errors_by_bin(connection, NOW)

    assert [row["bin_start"] for row in bins] == [
        NOW - timedelta(minutes=5 * number) for number in range(1, 25)
    ]


def test_an_error_counts_in_the_bin_that_holds_its_instant(connection):
    for seconds in (0, 299, 300):
        hold_row(connection, NOW - timedelta(minutes=10) + timedelta(seconds=seconds))

    bins = reports.errors_by_bin(connection, NOW, since=timedelta(minutes=15))

    assert [row["quarantined_rows"] for row in bins] == [1, 2, 0]


def test_errors_are_told_apart_by_kind(connection):
    at = NOW - timedelta(minutes=1)
    hold_row(connection, at)
    hold_file(connection, at)
    fail_read(connection, at)
    fail_read(connection, at, "EMPTY")

    (found,) = reports.errors_by_bin(connection, NOW, since=timedelta(minutes=5))

    counts = ("quarantined_rows", "quarantined_files", "failed_stream_reads")
    assert [found[name] for name in counts] == [1, 1, 1]


def test_errors_before_the_window_and_of_other_pipelines_are_left_out(connection):
    hold_row(connection, NOW - timedelta(minutes=6))
    hold_row(connection, NOW - timedelta(minutes=1), pipeline="q")

    bins = reports.errors_by_bin(connection, NOW, since=timedelta(minutes=5), pipeline="p")

    assert [row["quarantined_rows"] for row in bins] == [0]


def test_a_window_that_begins_within_a_bin_counts_only_its_part(connection):
    hold_row(connection, NOW - timedelta(minutes=9))
    hold_row(connection, NOW - timedelta(minutes=6))

    bins = reports.errors_by_bin(connection, NOW, since=timedelta(minutes=7))

    assert [row["quarantined_rows"] for row in bins] == [0, 1]
