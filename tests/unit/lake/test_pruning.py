"""Which partitions a query reads is told from its plan."""

from datetime import date

import pyarrow as pa
import pytest

from pipeline_platform.lake.pruning import measure_pruning, scanned_partitions
from pipeline_platform.lake.tables import LakeTable

EVENTS = LakeTable(
    pipeline="shop",
    layer="silver",
    name="events",
    schema=pa.schema(
        [
            pa.field("event_date", pa.date32()),
            pa.field("id", pa.string()),
            pa.field("n", pa.int64()),
        ]
    ),
    description="A sample.",
    partition_by="event_date",
)
DAYS = LakeTable(
    pipeline="shop",
    layer="gold",
    name="days",
    schema=pa.schema([pa.field("event_date", pa.date32()), pa.field("n", pa.int64())]),
    description="Another one.",
    partition_by="event_date",
)
FILES = {date(2026, 10, day): 2 for day in range(1, 11)}
NEEDED = (date(2026, 10, 4), date(2026, 10, 5))
FILTER = "WHERE event_date BETWEEN DATE '2026-10-04' AND DATE '2026-10-05'"


def pruning(sql: str, **more: object):
    return measure_pruning(sql, EVENTS, FILES, NEEDED, others=[DAYS], **more)


def test_a_query_that_filters_by_partition_reads_the_files_of_these() -> None:
    found = pruning(f"SELECT count(*) FROM shop_silver.events {FILTER}")

    assert found.is_pruned
    assert (found.files_scanned, found.files_expected, found.files_present) == (4, 4, 20)


def test_a_query_without_a_filter_is_found_out() -> None:
    found = pruning("SELECT count(*) FROM shop_silver.events")

    assert not found.is_pruned
    assert found.files_scanned == 20
    assert date(2026, 10, 1) in found.strays


def test_a_missing_filter_shows_in_a_table_that_has_no_other_partition() -> None:
    found = measure_pruning(
        "SELECT count(*) FROM shop_silver.events", EVENTS, {NEEDED[0]: 1, NEEDED[1]: 1}, NEEDED
    )

    assert not found.is_pruned
    assert found.strays == (date(2026, 10, 3), date(2026, 10, 6))


def test_a_filter_on_another_column_prunes_nothing() -> None:
    assert not pruning("SELECT count(*) FROM shop_silver.events WHERE id = 'x'").is_pruned


def test_a_filter_that_is_one_day_too_wide_is_found_out() -> None:
    wide = FILTER.replace("10-04", "10-03")

    assert pruning(f"SELECT * FROM shop_silver.events {wide}").strays == (date(2026, 10, 3),)


def test_one_of_two_reads_without_a_filter_is_found_out() -> None:
    sql = f"""WITH chosen AS (SELECT * FROM shop_silver.events {FILTER})
        SELECT * FROM chosen JOIN shop_silver.events AS every ON chosen.id = every.id"""

    assert not pruning(sql).is_pruned


def test_a_query_that_reads_another_table_reads_no_file() -> None:
    assert pruning("SELECT * FROM days").files_scanned == 0


@pytest.mark.parametrize("quoted", ['"memory"."shop_silver"."events"', "shop_silver.events"])
def test_tables_are_known_by_the_names_that_dbt_gives_them(quoted: str) -> None:
    assert scanned_partitions(f"SELECT * FROM {quoted}", EVENTS, list(FILES)) == set(FILES)
