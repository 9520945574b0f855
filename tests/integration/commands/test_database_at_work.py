"""`db slow`, `db locks` and `db reindex` say and do what they must, on a database at work."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.commands.conftest import Shell

LOCK = "LOCK TABLE vendors IN ACCESS EXCLUSIVE MODE"
SLEEP = "SELECT pg_sleep(600)"
ROWS = 480_000


def until(found: Callable[[], Any]) -> Any:
    """Return what is found as soon as something is; what is there after ten seconds else."""
    deadline = time.monotonic() + 10
    while not (one := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return one


@pytest.fixture
def sleeper(shell: Shell) -> Iterator[int]:
    """The pid of a session whose query does not end by itself."""
    with psycopg.connect(shell.database_url, autocommit=True) as session:

        def sleep() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                session.execute(SLEEP)

        thread = threading.Thread(target=sleep)
        thread.start()
        yield session.info.backend_pid
        session.cancel_safe()
        thread.join()


@pytest.fixture
def waiting(shell: Shell) -> Iterator[tuple[int, int]]:
    """The pids of one session that waits for a table, and of the one that holds it."""
    url = shell.database_url
    with psycopg.connect(url) as holder, psycopg.connect(url) as waiter:
        holder.execute(LOCK)
        thread = threading.Thread(target=waiter.execute, args=(LOCK,))
        thread.start()
        yield waiter.info.backend_pid, holder.info.backend_pid
        holder.rollback()
        thread.join()
        waiter.rollback()


def slow(shell: Shell, pid: int) -> list[dict[str, Any]]:
    return [one for one in shell.json("db", "slow", "--for", "1s") if one["pid"] == pid]


def test_a_slow_query_is_told_with_its_text_and_what_it_waits_for(
    shell: Shell, sleeper: int
) -> None:
    (row,) = until(lambda: slow(shell, sleeper))
    assert (row["query"], row["waits for"]) == (SLEEP, "Timeout:PgSleep")


def test_slow_queries_are_found_faults(shell: Shell, sleeper: int) -> None:
    until(lambda: slow(shell, sleeper))
    assert shell("db", "slow", "--for", "1s").exit_code == 1


def test_a_query_of_a_second_is_not_slow_for_five_minutes(shell: Shell, sleeper: int) -> None:
    assert (shell("db", "slow").exit_code, shell.json("db", "slow")) == (0, [])


def test_who_waits_is_told_beside_who_holds(shell: Shell, waiting: tuple[int, int]) -> None:
    (row,) = until(lambda: shell.json("db", "locks"))
    assert (row["blocked"], row["holder"], row["on"], row["holder is"]) == (
        *waiting,
        "vendors",
        "idle in transaction",
    )


def test_both_queries_of_a_lock_are_told(shell: Shell, waiting: tuple[int, int]) -> None:
    (row,) = until(lambda: shell.json("db", "locks"))
    assert (row["its query"], row["holder's query"]) == (LOCK, LOCK)


def test_a_lock_that_is_waited_for_is_a_found_fault(shell: Shell, waiting: tuple[int, int]) -> None:
    until(lambda: shell.json("db", "locks"))
    assert shell("db", "locks").exit_code == 1


@pytest.fixture
def bloated(shell: Shell) -> Shell:
    """A platform with a table whose index of more than ten megabytes is nearly all air."""
    with psycopg.connect(shell.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE visits AS SELECT generate_series(1, {ROWS})::bigint AS i")
        connection.execute("CREATE INDEX visits_by_number ON visits (i)")
        connection.execute("DELETE FROM visits WHERE i % 100 <> 0")
        connection.execute("VACUUM ANALYZE visits")
    return shell


def size_of_index(shell: Shell) -> int:
    with psycopg.connect(shell.database_url) as connection:
        return int(connection.execute("SELECT pg_relation_size('visits_by_number')").fetchone()[0])


def test_an_index_of_air_is_rebuilt_by_command(bloated: Shell) -> None:
    before = size_of_index(bloated)
    (shown,) = bloated.json("db", "reindex", "visits", "--dry-run")
    assert (shown["index_name"], size_of_index(bloated)) == ("visits_by_number", before)
    (done,) = bloated.json("db", "reindex", "visits")
    assert (done["bytes_before"], done["bytes_after"]) == (before, size_of_index(bloated))
    assert size_of_index(bloated) < before / 10


def test_a_table_without_bloat_needs_nothing(shell: Shell) -> None:
    assert "no index needs it" in shell("db", "reindex", "performance_data").output
