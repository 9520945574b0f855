"""Commands that end what does not end by itself: runs, queries, sessions; and a daemon's state."""

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.integration.commands.conftest import Processed, Shell


@pytest.fixture
def idle(shell: Shell) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Somebody else's session that has been idle for a moment."""
    with closing(psycopg.connect(shell.database_url, autocommit=True)) as session:
        session.execute("SELECT 1")
        time.sleep(1.1)
        yield session


def is_alive(session: "psycopg.Connection[tuple[object, ...]]") -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("options", [(), ("--idle-for", "1m", "--running-for", "5m")])
def test_what_is_to_end_in_the_database_must_be_said(
    shell: Shell, options: tuple[str, ...]
) -> None:
    ended = shell("db", "end", *options)
    assert (ended.exit_code, "Give one of" in ended.stderr) == (2, True)


def test_a_session_that_is_not_idle_for_so_long_stays(shell: Shell, idle) -> None:
    assert shell.json("db", "end", "--idle-for", "1h") == []
    assert is_alive(idle)


def test_a_dry_run_ends_nothing(shell: Shell, idle) -> None:
    shown = shell.json("db", "end", "--idle-for", "1s", "--dry-run")
    assert idle.info.backend_pid in {row["pid"] for row in shown}
    assert is_alive(idle)


def test_a_run_that_has_ended_can_not_be_ended(processed: Processed) -> None:
    (run,) = processed.shell.json("runs", "--limit", "1")
    ended = processed.shell("run", "end", run["run"], "--reason", "test")
    assert (ended.exit_code, "has ended already" in ended.stderr) == (2, True)


def test_a_daemon_that_never_ran_is_silent(processed: Processed) -> None:
    found = processed.shell("daemon", "--dry-run", "--json")
    assert (found.exit_code, '"is": "silent"' in found.stdout) == (1, True)
