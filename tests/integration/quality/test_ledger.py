"""The conservation ledger in PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline_platform.quality.conservation import (
    Connection,
    Gap,
    LedgerEntry,
    gaps,
    imbalances,
    ledger,
    record_entries,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST, SECOND = "landing_to_bronze", "bronze_to_silver"
ENTRY = LedgerEntry("p", FIRST, "file-a", "2026-10-01", 10, 7, 2, 1, 0)


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


def _record(conn: Connection, *entries: LedgerEntry) -> None:
    record_entries(conn, entries, run_id="run", now=NOW)


def test_an_entry_is_kept_as_it_was_given(conn: Connection) -> None:
    _record(conn, ENTRY)
    assert ledger(conn, "p") == [ENTRY]


def test_recording_twice_changes_nothing(conn: Connection) -> None:
    _record(conn, ENTRY)
    _record(conn, ENTRY)
    assert ledger(conn, "p") == [ENTRY]


def test_a_file_that_is_read_again_leaves_no_entry_of_its_former_months(conn: Connection) -> None:
    _record(conn, ENTRY)
    moved = replace(ENTRY, partition_key="2026-09-01")
    _record(conn, moved)
    assert ledger(conn, "p") == [moved]


def test_other_files_and_hops_are_left_alone(conn: Connection) -> None:
    others = [replace(ENTRY, file_sha256="file-b"), replace(ENTRY, hop=SECOND)]
    _record(conn, *others)
    _record(conn, ENTRY)
    assert set(ledger(conn, "p")) == {ENTRY, *others}


def test_a_month_that_is_judged_again_forgets_files_that_left_it(conn: Connection) -> None:
    _record(conn, ENTRY, replace(ENTRY, file_sha256="file-b"))
    record_entries(conn, [ENTRY], run_id="run", now=NOW, replacing=(FIRST, [ENTRY.partition_key]))
    assert ledger(conn, "p") == [ENTRY]


def test_a_month_that_became_empty_is_cleared(conn: Connection) -> None:
    _record(conn, ENTRY)
    replacing = (FIRST, [ENTRY.partition_key])
    record_entries(conn, [], run_id="run", now=NOW, replacing=replacing, pipeline="p")
    assert ledger(conn, "p") == []


def test_a_hop_that_leaks_is_named(conn: Connection) -> None:
    leaking = replace(ENTRY, hop=SECOND, published=6)
    _record(conn, ENTRY, leaking)
    assert imbalances(conn, "p") == [leaking]


def test_records_lost_between_the_hops_are_named(conn: Connection) -> None:
    _record(conn, ENTRY, LedgerEntry("p", SECOND, "file-a", "2026-10-01", 6, 6, 0, 0, 0))
    assert gaps(conn, "p", FIRST, SECOND) == [Gap("file-a", "2026-10-01", 7, 6)]


def test_a_month_that_waits_for_work_has_no_gap(conn: Connection) -> None:
    _record(conn, ENTRY)
    conn.execute("INSERT INTO partition_work (pipeline, partition_key) VALUES ('p', '2026-10-01')")
    assert gaps(conn, "p", FIRST, SECOND) == []


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"hop": SECOND}, 0),
        ({"hop": FIRST}, 1),
        ({"file_sha256": "file-a"}, 1),
        ({"partition_key": "2026-09-01"}, 0),
    ],
)
def test_entries_can_be_chosen(conn: Connection, chosen: dict[str, str], found: int) -> None:
    _record(conn, ENTRY)
    assert len(ledger(conn, "p", **chosen)) == found
