"""Processor time of a real server's processes, and which load counts as one that lasted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipeline_platform.warehouse.processor_use import (
    Load,
    loads,
    processor_time,
    record_sample,
    sustained_pct,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WORK = "SELECT count(*) FROM generate_series(1, 3000000) AS n WHERE md5(n::text) < '0'"


def postmaster(connection: psycopg.Connection) -> int:
    stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_what_a_session_uses_counts_while_it_works_and_after_it_ended(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        pid = postmaster(connection)
        before = processor_time(pid).processor_seconds
        connection.execute(WORK)
        during = processor_time(pid).processor_seconds
    with psycopg.connect(database_url):
        after = processor_time(pid).processor_seconds
    assert during - before > 0.2
    assert after >= during - 0.1


def test_a_process_that_is_not_there_tells_nothing() -> None:
    assert processor_time(2**22 + 1) is None


def test_samples_of_another_server_are_no_load(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        counter = processor_time(postmaster(connection))
        earlier = NOW - timedelta(minutes=5)
        connection.execute("INSERT INTO processor_samples VALUES ('another', %s, 0)", (earlier,))
        record_sample(connection, counter, now=NOW)
        assert loads(connection, counter, since=earlier, now=NOW) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        ([(269, 90)], None),
        ([(298, 90)], 90),
        ([(240, 90), (60, 20)], 20),
        ([(120, 90), (300, 10), (180, 85)], 85),
    ],
)
def test_a_load_counts_when_it_lasted(found, expected) -> None:
    measured = [Load(seconds, used) for seconds, used in found]
    assert sustained_pct(measured, timedelta(minutes=5)) == expected
