"""Connections are pooled, in UTC, and never tell the password."""

import json
import logging
import threading
import traceback

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from pipeline_platform.failures import (
    ConflictError,
    InvalidSettingError,
    PlatformError,
    UnavailableError,
)
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.addresses import with_database
from pipeline_platform.warehouse.database import Database, database_url, reporting_url

PASSWORD = "hunter2-/@:very secret"


@pytest.fixture
def secrets(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield boto3.client("secretsmanager", region_name="us-east-1")
    server.stop()


def test_work_is_committed_at_the_end_of_the_block(database):
    with database.connection() as connection:
        connection.execute("CREATE TABLE kept (value integer)")

    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_failing_block_leaves_nothing_behind(database):
    with pytest.raises(psycopg.errors.DivisionByZero), database.transaction() as connection:
        connection.execute("CREATE TABLE lost (value integer); SELECT 1 / 0")

    with database.connection() as connection:
        assert connection.execute("SELECT to_regclass('lost')").fetchone() == (None,)


def test_sessions_are_in_utc(database):
    with database.connection() as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)


def test_more_callers_than_connections_wait_and_then_hear_why(database_url):
    with (
        Database(database_url, 1, wait_seconds=0.2) as small,
        small.connection(),
        pytest.raises(UnavailableError, match="PLATFORM_DATABASE_CONNECTIONS"),
        small.connection(),
    ):
        pass


def test_a_pool_holds_at_most_its_limit(database_url):
    with Database(database_url, 3, wait_seconds=30) as limited:

        def work():
            with limited.connection() as connection:
                connection.execute("SELECT pg_sleep(0.01)")

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with limited.connection() as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend'"
            ).fetchone()

    assert found[0] <= 3


def test_a_lock_that_is_not_given_in_time_is_a_conflict(database):
    with database.connection() as holder:
        holder.execute("LOCK TABLE vendors")
        with pytest.raises(ConflictError), database.connection() as other:
            other.execute("SET LOCAL lock_timeout = '50ms'; LOCK TABLE vendors")


def test_a_lost_connection_can_be_tried_again(database):
    with pytest.raises(UnavailableError), database.connection() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with database.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_error_of_sql_stays_what_it_is(database):
    with pytest.raises(psycopg.errors.UndefinedTable), database.connection() as connection:
        connection.execute("SELECT * FROM missing")


def test_what_can_not_run_in_a_transaction_has_its_own_connection(database):
    with database.autocommit_connection() as connection:
        connection.execute("VACUUM vendors")

        assert connection.autocommit


@pytest.mark.parametrize("server", ["127.0.0.1:1", "no-such-host.invalid", None])
def test_no_error_and_no_log_line_shows_the_password(server, database_url, caplog):
    caplog.set_level(logging.DEBUG)
    here = database_url.rpartition("@")[2]
    url = f"postgresql://platform:hunter2@{server + '/platform' if server else here}"
    with Database(url, wait_seconds=0.5) as database:
        try:
            with database.connection():
                shown = "connected"
        except PlatformError:
            shown = traceback.format_exc()

    shows_it = "hunter2" in shown + repr(database) + caplog.text
    assert ("UnavailableError" in shown, shows_it) == (True, False)


def test_the_setting_wins_over_the_secret(settings):
    both = settings.model_copy(update={"database_secret_name": "unused"})

    assert database_url(both) == settings.database_url.get_secret_value()


def test_reports_go_to_the_replica_where_there_is_one(settings):
    url = SecretStr("postgresql://reader:x@replica/platform")
    with_replica = settings.model_copy(update={"reporting_database_url": url})

    assert reporting_url(with_replica) == url.get_secret_value()


def test_without_a_replica_reports_go_to_the_database(settings):
    assert reporting_url(settings) == settings.database_url.get_secret_value()


def test_another_database_beside_a_given_one_is_made(settings, database_server):
    url = database_url(settings, name="beside_given")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT current_database()").fetchone()

    assert found == ("beside_given",)


def test_a_schema_stands_in_where_no_database_may_be_made(settings):
    given = settings.database_url.get_secret_value()
    name = given.rpartition("/")[2]
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE limited_{name} LOGIN PASSWORD 'x'")
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO limited_{name}")
    limited = f"postgresql://limited_{name}:x@{given.rpartition('@')[2]}"
    modest = settings.model_copy(update={"database_url": SecretStr(limited)})

    url = database_url(modest, name="not_allowed")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_schema()").fetchone() == ("not_allowed",)


def test_the_address_comes_from_secrets_manager(secrets, tmp_path):
    fields = {"username": "u", "password": PASSWORD, "host": "h", "port": 5433, "dbname": "d"}
    secrets.create_secret(Name="advisory-etl/db-password", SecretString=json.dumps(fields))
    settings = Settings(home=tmp_path, database_secret_name="advisory-etl/db-password")

    assert psycopg.conninfo.conninfo_to_dict(database_url(settings)) == {
        "user": "u",
        "password": PASSWORD,
        "host": "h",
        "port": "5433",
        "dbname": "d",
    }


def test_a_missing_secret_names_the_setting(secrets, tmp_path):
    settings = Settings(home=tmp_path, database_secret_name="nowhere")

    with pytest.raises(InvalidSettingError, match="PLATFORM_DATABASE_SECRET_NAME"):
        database_url(settings)


def test_a_broken_secret_is_not_repeated(secrets, tmp_path):
    secrets.create_secret(Name="broken", SecretString=f'{{"password": "{PASSWORD}"')
    settings = Settings(home=tmp_path, database_secret_name="broken")
    try:
        shown = database_url(settings)
    except InvalidSettingError:
        shown = traceback.format_exc()

    assert PASSWORD not in shown


def test_a_secrets_manager_that_does_not_answer_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = Settings(home=tmp_path, database_secret_name="any")

    with pytest.raises(UnavailableError):
        database_url(settings)


def test_a_database_that_does_not_exist_is_named(database_url):
    with (
        Database(with_database(database_url, "nowhere")) as missing,
        pytest.raises(UnavailableError, match='"nowhere" does not exist'),
        missing.connection(),
    ):
        pass
