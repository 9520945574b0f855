"""The SQL catalog lives beside the platform's database."""

import uuid

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.lake.catalog import CATALOG_DATABASE
from pipeline_platform.lake.lake import Lake


@pytest.fixture
def other_platform(database_url):
    """Address of a second, empty database on the same server."""
    name = f"other_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield name
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def url_with(database_url, **changes):
    from sqlalchemy import make_url

    return make_url(database_url).set(**changes).render_as_string(hide_password=False)


def test_the_catalog_has_a_database_of_its_own(lake, database_url, balances):
    lake.ensure(balances)
    parts = {**conninfo_to_dict(database_url), "dbname": CATALOG_DATABASE}
    with psycopg.connect(make_conninfo(**parts)) as connection:
        listed = connection.execute(
            "SELECT count(*) FROM iceberg_tables WHERE table_namespace = %s",
            [balances.identifier[0]],
        ).fetchone()
    assert listed == (1,)


def test_two_platforms_on_one_server_do_not_see_each_other(
    lake, settings, database_url, other_platform, balances
):
    lake.ensure(balances)
    other = Lake.open(settings, url_with(database_url, database=other_platform))
    assert not other.exists(balances)


def test_a_user_who_may_not_create_databases_gets_a_schema(
    settings, database_url, balances, monkeypatch, other_platform
):
    monkeypatch.setattr("pipeline_platform.lake.catalog.CATALOG_DATABASE", "c_" + other_platform)
    user = f"user_{uuid.uuid4().hex[:8]}"
    url = url_with(database_url, database=other_platform)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
        connection.execute(f"GRANT CREATE ON DATABASE {other_platform} TO {user}")
    lake = Lake.open(settings, url_with(url, username=user, password="x"))
    lake.ensure(balances)
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            f"SELECT count(*) FROM c_{other_platform}.iceberg_tables"
        ).fetchone()
        connection.execute(f"DROP OWNED BY {user}")
        connection.execute(f"DROP ROLE {user}")
    assert tables == (1,)


def test_a_server_that_does_not_answer_is_a_passing_failure(settings, balances):
    lake = Lake.open(settings, "postgresql://nobody:hidden@127.0.0.1:1/none")
    with pytest.raises(UnavailableError, match="PostgreSQL did not answer"):
        lake.exists(balances)


def test_the_password_is_not_in_the_error(settings, balances):
    lake = Lake.open(settings, "postgresql://nobody:hidden@127.0.0.1:1/none")
    with pytest.raises(UnavailableError) as caught:
        lake.exists(balances)
    assert "hidden" not in str(caught.value)


def test_a_rest_catalog_needs_its_address(settings, database_url, balances):
    lake = Lake.open(settings.model_copy(update={"catalog": "rest"}), database_url)
    with pytest.raises(InvalidSettingError, match="PLATFORM_CATALOG_URI"):
        lake.exists(balances)
