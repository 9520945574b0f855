"""The diagnosis names the first layer on the way to the database that fails."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pipeline_platform.warehouse.addresses import with_database
from pipeline_platform.warehouse.diagnosis import diagnose

SCRIPT = Path(__file__).parents[3] / "scripts" / "test_db_connection.py"


def failing(url):
    """Name of the layer that fails, None if all work."""
    return next((layer.name for layer in diagnose(url, seconds=1) if not layer.is_ok), None)


def run_script(tmp_path, url, *arguments):
    environment = {**os.environ, "PLATFORM_HOME": str(tmp_path), "PLATFORM_DATABASE_URL": url}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_all_layers_are_tried_in_order(database_url):
    assert [layer.name for layer in diagnose(database_url)] == [
        "address",
        "name",
        "tcp",
        "tls",
        "login",
        "read",
        "write",
        "latency",
    ]


def test_a_working_database_has_no_failing_layer(database_url):
    assert failing(database_url) is None


@pytest.mark.parametrize(
    ("url", "layer"),
    [
        ("nonsense", "address"),
        ("postgresql://u:hunter2@no-such-host.invalid/db", "name"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", "tcp"),
    ],
)
def test_the_failing_layer_is_named(url, layer):
    assert failing(url) == layer


def test_tls_that_is_demanded_but_not_offered_fails(database_url):
    assert failing(database_url + "?sslmode=require") == "tls"


def test_a_wrong_password_fails_at_the_login(database_url):
    host = database_url.rpartition("@")[2]

    assert failing(f"postgresql://platform:hunter2@{host}") == "login"


def test_a_database_that_does_not_exist_fails_at_the_login(database_url):
    assert failing(with_database(database_url, "nowhere")) == "login"


def test_tables_without_permission_fail_at_reading(database_url):
    name = f"blind_{database_url.rpartition('/')[2]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")

    assert failing(f"postgresql://{name}:x@{database_url.rpartition('@')[2]}") == "read"


def test_a_read_only_server_fails_at_writing(database_url):
    url = database_url + "?options=-c%20default_transaction_read_only%3Don"

    assert failing(url) == "write"


@pytest.mark.parametrize("server", ["127.0.0.1:1", "no-such-host.invalid", None])
def test_no_layer_shows_the_password(database_url, server):
    where = f"{server}/db" if server else database_url.rpartition("@")[2]
    layers = list(diagnose(f"postgresql://platform:hunter2@{where}", seconds=1))

    assert "hunter2" not in str(layers)


def test_nothing_is_left_behind(database_url):
    list(diagnose(database_url))
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT to_regclass('connection_test')").fetchone()

    assert found == (None,)


def test_the_script_succeeds_on_a_working_database(tmp_path, database_url):
    assert run_script(tmp_path, database_url).returncode == 0


def test_the_script_fails_with_one_clear_sentence(tmp_path):
    result = run_script(tmp_path, "postgresql://u:hunter2@127.0.0.1:1/db", "--json")

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_the_script_never_prints_the_password(tmp_path):
    result = run_script(tmp_path, "postgresql://u:hunter2@127.0.0.1:1/db")

    assert "hunter2" not in result.stdout + result.stderr
