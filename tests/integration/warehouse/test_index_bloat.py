"""Indexes: which are used, which are mostly air, and rebuilding these beside readers."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline_platform.failures import ConflictError
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.index_bloat import (
    IndexUse,
    counted_since,
    index_bloat,
    index_use,
    rebuild_bloated,
)
from pipeline_platform.warehouse.locks import named_lock

ROWS = 60_000


@pytest.fixture
def emptied(database: Database) -> Iterator[Database]:
    """A partitioned table whose one index held thirty times the rows that it holds now."""
    with database.autocommit_connection() as conn:
        conn.execute("DROP TABLE IF EXISTS visits")
        conn.execute("CREATE TABLE visits (id bigint, at date) PARTITION BY RANGE (at)")
        conn.execute(
            "CREATE TABLE visits_2026 PARTITION OF visits"
            " FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        )
        conn.execute("CREATE INDEX visits_by_id ON visits (id)")
        conn.execute(
            "INSERT INTO visits SELECT id, '2026-03-01' FROM generate_series(1, %s) AS id", (ROWS,)
        )
        conn.execute("DELETE FROM visits WHERE id %% 30 <> 0", ())
        conn.execute("VACUUM ANALYZE visits_2026")
        yield database
        conn.execute("DROP TABLE visits")


def of(database: Database, name: str) -> IndexUse:
    with database.connection() as conn:
        (found,) = [one for one in index_use(conn) if one.index_name == name]
    return found


def test_an_index_that_lost_its_rows_is_mostly_air(emptied: Database) -> None:
    with emptied.connection() as conn:
        (found,) = index_bloat(conn, "visits")
    assert found.bloat_pct > 90


def test_a_full_index_is_not(emptied: Database) -> None:
    with emptied.autocommit_connection() as conn:
        conn.execute("REINDEX INDEX visits_2026_id_idx")
        conn.execute("ANALYZE visits_2026")
        (found,) = index_bloat(conn, "visits")
    assert found.bloat_pct < 30


def test_what_is_air_is_rebuilt_and_the_rest_left_alone(emptied: Database) -> None:
    (done,) = rebuild_bloated(emptied, "visits", dry_run=False, least_bytes=0)
    assert done.bytes_after < done.bytes_before / 10
    with emptied.autocommit_connection() as conn:
        conn.execute("ANALYZE visits_2026")
    assert list(rebuild_bloated(emptied, "visits", dry_run=False, least_bytes=100_000)) == []


def test_a_dry_run_rebuilds_nothing(emptied: Database) -> None:
    before = of(emptied, "visits_by_id").size_bytes
    (told,) = rebuild_bloated(emptied, "visits", dry_run=True, least_bytes=0)
    assert (told.bytes_after, of(emptied, "visits_by_id").size_bytes) == (None, before)


def test_two_rebuilds_are_never_at_work(emptied: Database) -> None:
    with named_lock(emptied, "rebuild_indexes"), pytest.raises(ConflictError):
        list(rebuild_bloated(emptied, "visits", dry_run=True))


def test_what_a_failed_rebuild_left_is_removed(emptied: Database) -> None:
    with emptied.autocommit_connection() as conn:
        conn.execute("INSERT INTO visits SELECT 30, '2026-03-02'")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("CREATE UNIQUE INDEX CONCURRENTLY visits_ccnew ON visits_2026 (id)")
    list(rebuild_bloated(emptied, "visits", dry_run=False))
    with emptied.connection() as conn:
        assert not [one for one in index_use(conn) if one.index_name == "visits_ccnew"]


def test_partitions_count_for_their_parent(emptied: Database) -> None:
    with emptied.autocommit_connection() as conn:
        conn.execute("SET enable_seqscan = off")
        conn.execute("SELECT count(*) FROM visits WHERE id = 60")
        conn.execute("SELECT pg_stat_force_next_flush()")
        conn.execute("SELECT 1")
    found = of(emptied, "visits_by_id")
    assert (found.scans, found.table_name, found.guards) == (1, "visits", False)
    assert found.last_scan_at is not None


def test_statistics_that_were_reset_say_since_when(emptied: Database) -> None:
    with emptied.autocommit_connection() as conn:
        conn.execute("SELECT pg_stat_reset()")
        assert counted_since(conn) is not None
