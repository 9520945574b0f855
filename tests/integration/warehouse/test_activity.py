"""Who waits for a lock, and for whom (SA-59)."""

import threading
import time

import psycopg
import pytest

from pipeline_platform.warehouse.activity import blocked_sessions

LOCK = "LOCK TABLE vendors IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
def waiting(database_url):
    """One session holds a table, another one wants it; yields the pids of both."""
    with psycopg.connect(database_url) as holder, psycopg.connect(database_url) as waiter:
        holder.execute(LOCK)
        pids = (waiter.info.backend_pid, holder.info.backend_pid)
        thread = threading.Thread(target=waiter.execute, args=(LOCK,))
        thread.start()
        yield pids
        holder.rollback()
        thread.join()
        waiter.rollback()


def test_waiter_and_holder_are_named_together(waiting, database_url) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        deadline = time.monotonic() + 10
        while not (found := blocked_sessions(connection)) and time.monotonic() < deadline:
            time.sleep(0.02)
    told = [
        (one["blocked_pid"], one["blocker_pid"], one["object"], one["blocker_state"])
        for one in found
        if one["blocked_pid"] == waiting[0]
    ]
    assert told == [(*waiting, "vendors", "idle in transaction")]


def test_who_waits_for_nothing_is_not_listed(database_url) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        mine = connection.info.backend_pid
        assert mine not in {one["blocked_pid"] for one in blocked_sessions(connection)}
