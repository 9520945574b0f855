"""Slow statements by pg_stat_statements, on a server that has it: not the embedded one (D-9)."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline_platform.failures import NotFoundError
from pipeline_platform.warehouse.statements import slowest_statements

LIBRARIES = sorted(Path("/usr/lib/postgresql").glob("*/lib/pg_stat_statements.so"))
needs_a_server = pytest.mark.skipif(
    not LIBRARIES, reason="no server is installed; the Debian package `postgresql` has one"
)
USER = {"user": "nobody"} if os.geteuid() == 0 else {}
"""A server does not run as root."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with the extension, in which one statement is slow."""
    programs = LIBRARIES[-1].parents[1] / "bin"
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # nobody can't enter the folders of pytest
    if USER:
        shutil.chown(folder, "nobody")
    data = str(folder / "data")
    made = [programs / "initdb", "-D", data, "-U", "platform", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/", **USER)
    options = ["listen_addresses=", "fsync=off", "shared_preload_libraries=pg_stat_statements"]
    words = [word for one in options for word in ("-c", one)]
    command = [programs / "postgres", "-D", data, "-k", str(folder), *words]
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **USER) as process:
        url = f"postgresql://platform@/postgres?host={folder}"
        try:
            _wait_for(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE SCHEMA counted")
                connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA counted")
                for seconds in (0.2, 0.3):
                    connection.execute(f"SELECT pg_sleep({seconds}), 'secret'")
            yield url
        finally:
            process.terminate()
    shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < until, "The server did not start in time."
            time.sleep(0.05)
        else:
            return


@needs_a_server
def test_the_slowest_statement_comes_first_with_its_times(server: str) -> None:
    with psycopg.connect(server) as connection:
        first = slowest_statements(connection, 1)[0]
    assert (first["calls"], "pg_sleep" in first["statement"]) == (2, True)
    assert 200 <= first["mean_ms"] <= first["max_ms"] <= first["total_ms"]


@needs_a_server
def test_values_are_not_shown(server: str) -> None:
    with psycopg.connect(server) as connection:
        found = slowest_statements(connection, 100)
    assert not [one for one in found if "secret" in one["statement"]]


def test_a_server_that_does_not_count_says_what_it_needs(database) -> None:
    with (
        database.connection() as connection,
        pytest.raises(NotFoundError, match="shared_preload_libraries"),
    ):
        slowest_statements(connection, 10)
