"""The schema goes forward and back, and only once however many ask."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipeline_platform.failures import UnavailableError
from pipeline_platform.warehouse.migrations import FOLDER, migrate, migrations, rollback

VERSIONS = [step.version for step in migrations()]


def tables(url):
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in found}


def test_every_migration_can_be_undone():
    ups = {path.name.removesuffix(".up.sql") for path in FOLDER.glob("*.up.sql")}
    downs = {path.name.removesuffix(".down.sql") for path in FOLDER.glob("*.down.sql")}

    assert ups == downs


def test_no_two_migrations_share_a_version():
    assert len(VERSIONS) == len(set(VERSIONS))


def test_a_second_migration_changes_nothing(database_url):
    assert migrate(database_url) == []


def test_everything_can_be_undone_newest_first(database_url):
    assert rollback(database_url, 0) == VERSIONS[::-1]


def test_nothing_is_left_after_all_was_undone(database_url):
    rollback(database_url, 0)

    assert tables(database_url) == {"schema_migrations"}


def test_what_was_undone_comes_back(database_url):
    before = tables(database_url)
    rollback(database_url, 0)
    migrate(database_url)

    assert tables(database_url) == before


def test_concurrent_migrations_apply_each_version_once(database_url):
    rollback(database_url, 0)
    with ThreadPoolExecutor(4) as pool:
        applied = [version for done in pool.map(migrate, [database_url] * 4) for version in done]

    assert applied == VERSIONS


def test_what_is_broken_keeps_its_incident_when_its_check_is_renamed(database_url):
    rollback(database_url, 156)
    name = "check:operations/recovery/backups:{}backup_age"
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO faults (pipeline, fault, kind, subject, state, severity, route,"
            " response_minutes, sentence, touches, remedy, follows_failed_runs, days, began_at,"
            " changed_at) VALUES ('weather', %s, 'check', 'a', 'RED', 'warning', 'b', 1, 'c',"
            " '[]', '{}', false, '{}', now(), now())",
            (name.format(""),),
        )
    found = []
    for change in (migrate, lambda url: rollback(url, 156)):
        change(database_url)
        with psycopg.connect(database_url) as connection:
            found += connection.execute("SELECT fault FROM faults").fetchall()
    migrate(database_url)

    assert found == [(name.format("weather_"),), (name.format(""),)]


def test_a_server_that_can_not_be_reached_is_unavailable_without_the_password():
    with pytest.raises(UnavailableError) as caught:
        migrate("postgresql://u:hunter2@127.0.0.1:1/x")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "vendors",
        "etl_processing_log",
        "data_quality_issues",
        "conservation_ledger",
        "quarantined_rows",
        "quarantined_files",
        "partition_work",
        "check_observations",
        "tolerances_history",
        "performance_data",
    ],
)
def test_the_schema_has_the_control_tables(database_url, name):
    assert name in tables(database_url)
