"""The embedded server starts once, whoever asks, and survives being killed."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread

import psycopg
import pytest

from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.database import database_url
from pipeline_platform.warehouse.server_files import ServerFiles

START = """
import sys
from pathlib import Path
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
print(embedded.start(Settings(home=Path(sys.argv[1])), is_durable=False))
"""


@pytest.fixture
def own_settings(tmp_path):
    settings = Settings(home=tmp_path / "home", environment="test")
    yield settings
    embedded.stop(settings)


@pytest.fixture
def own_url(own_settings):
    return embedded.start(own_settings, is_durable=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Settings of a server that these tests only look at."""
    settings = Settings(home=tmp_path_factory.mktemp("running"), environment="test")
    embedded.start(settings, is_durable=False)
    yield settings
    embedded.stop(settings)


@pytest.fixture
def running_url(running):
    return embedded.database_url(running)


class HangsUp(TCPServer):
    """A program that is no database: it ends each connection, and nobody waits for an answer."""

    allow_reuse_address = True


def query(url, text):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else None


def kill(settings):
    """End the server as a loss of power would, and wait until it is gone."""
    pid = embedded.status(settings).pid
    os.kill(pid, signal.SIGKILL)
    while embedded.status(settings).is_running:
        pass
    return pid


def test_it_holds_the_databases_of_platform_dagster_and_catalog(running_url):
    names = {row[0] for row in query(running_url, "SELECT datname FROM pg_database")}

    assert names >= {"platform", "dagster", "iceberg_catalog"}


def test_starting_again_gives_the_same_address(running, running_url):
    assert embedded.start(running) == running_url


def test_without_a_setting_the_platform_uses_it(running, running_url):
    assert database_url(running) == running_url


def test_each_database_has_its_url(running, running_url):
    url = database_url(running, name="dagster")

    assert query(url, "SELECT current_database()") == [("dagster",)]


def test_it_listens_on_the_loopback_interface_only(running_url):
    found = query(running_url, "SHOW listen_addresses") + query(
        running_url, "SHOW unix_socket_directories"
    )

    assert found == [("127.0.0.1",), ("",)]


def test_it_takes_a_hundred_connections(running_url):
    assert query(running_url, "SHOW max_connections") == [("100",)]


def test_it_does_not_let_anyone_in_without_the_password(running_url):
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(running_url, password="wrong")


def test_only_the_owner_can_read_the_password(running, running_url):
    mode = (running.home / "postgres" / "password").stat().st_mode

    assert stat.S_IMODE(mode) == 0o600


def test_the_server_does_not_run_as_root(running, running_url):
    files = ServerFiles(running.home)
    process = Path(f"/proc/{embedded.status(running).pid}")
    inside = (process / "uid_map").read_text().split()[0]
    user = process.stat().st_uid

    assert (inside, user) != ("0", 0), files.run_as


def test_a_home_with_a_long_path_and_odd_characters_works(tmp_path):
    settings = Settings(home=tmp_path / ("long " * 20) / "it's" / "home")
    try:
        assert query(embedded.start(settings, is_durable=False), "SELECT 1") == [(1,)]
    finally:
        embedded.stop(settings)


def test_several_processes_may_start_it_at_once(own_settings):
    def begin(_):
        command = [sys.executable, "-c", START, str(own_settings.home)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(3) as pool:
        urls = set(pool.map(begin, range(3)))

    assert len(urls) == 1


def test_committed_rows_survive_a_killed_server(own_settings, own_url):
    query(own_url, "CREATE TABLE kept AS SELECT 42 AS value")
    kill(own_settings)

    assert query(embedded.start(own_settings), "SELECT value FROM kept") == [(42,)]


def test_a_killed_server_starts_although_its_process_number_was_given_out_again(
    own_settings, own_url
):
    kill(own_settings)
    pid_file = ServerFiles(own_settings.home).data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    assert query(embedded.start(own_settings), "SELECT 1") == [(1,)]


def test_it_moves_to_another_port_when_its_own_was_taken(own_settings, own_url):
    port = embedded.status(own_settings).port
    embedded.stop(own_settings)
    with HangsUp(("127.0.0.1", port), BaseRequestHandler) as other:
        Thread(target=other.serve_forever, args=(0.05,)).start()
        url = embedded.start(own_settings)
        other.shutdown()

    assert query(url, "SHOW port") != [(str(port),)]


def test_an_unfinished_initialisation_is_done_again(own_settings):
    files = ServerFiles(own_settings.home)
    files.prepare()
    files.data.with_name("data.new").mkdir()

    assert query(embedded.start(own_settings, is_durable=False), "SELECT 1") == [(1,)]


def test_a_start_that_was_killed_before_the_databases_were_made_is_finished(own_settings, own_url):
    query(own_url, "DROP DATABASE iceberg_catalog")
    embedded.start(own_settings)

    names = {row[0] for row in query(own_url, "SELECT datname FROM pg_database")}
    assert "iceberg_catalog" in names


def test_stopping_says_whether_it_ran(own_settings, own_url):
    assert (embedded.stop(own_settings), embedded.stop(own_settings)) == (True, False)


def test_the_status_of_a_home_without_server_is_stopped(own_settings):
    assert not embedded.status(own_settings).is_running
