"""Addresses are checked, changed and made without ever being shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.warehouse.addresses import (
    _url_of_secret,
    require_url,
    with_database,
    with_schema,
)
from tests.examples import examples

PASSWORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "mysql://user:hunter2@host/db",
        "postgresql://user:hunter2/hunter2@host/db",
        "postgresql://user:hun@hunter2@host/db",
        "postgresql://user:hunter2@host:port/db",
        "host=localhost password=hunter2",
    ],
)
def test_an_address_that_can_not_be_used_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidSettingError) as caught:
        require_url(url)

    assert "hunter2" not in str(caught.value)


def test_the_message_names_the_setting():
    with pytest.raises(InvalidSettingError, match="PLATFORM_REPORTING_DATABASE_URL"):
        require_url("nonsense", "PLATFORM_REPORTING_DATABASE_URL")


def test_another_database_on_the_same_server_keeps_everything_else():
    url = with_database("postgresql://u:p%40@h:5433/a?sslmode=require", "b")

    assert url == "postgresql://u:p%40@h:5433/b?sslmode=require"


def test_a_schema_is_searched_first():
    url = with_schema("postgresql://u:p@h/a?sslmode=require", "dagster")

    assert conninfo_to_dict(url)["options"] == "-csearch_path=dagster"


@given(PASSWORDS)
@examples(50)
def test_any_password_of_a_secret_reaches_the_driver_unchanged(password):
    import json

    fields = {"username": "u", "password": password, "host": "h", "port": 1, "dbname": "d"}
    url = _url_of_secret("name", json.dumps(fields))

    assert conninfo_to_dict(url)["password"] == password


@pytest.mark.parametrize("text", ["hunter2", "[]", '"hunter2"', '{"password": "hunter2"}'])
def test_a_secret_of_another_shape_is_refused_without_repeating_it(text):
    with pytest.raises(InvalidSettingError) as caught:
        _url_of_secret("advisory-etl/db-password", text)

    assert "hunter2" not in str(caught.value)
