"""Series of what grows, from the lake and the database; and the command over them."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations import capacity_alerts
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.automation import sizes_job
from pipeline_platform.operations.growth import (
    DATABASE,
    record_size,
    remember_sizes,
    sampled_series,
    table_series,
)
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import CapacityLimit
from pipeline_platform.services import Services
from tests.assets.platform_runs import running

TODAY = date(2026, 3, 1)
EVENTS = LakeTable(
    "events",
    "silver",
    "events",
    pa.schema([pa.field("event_date", pa.date32(), nullable=False)]),
    "A sample.",
    "event_date",
)


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def events(services):
    """Rows of three days: 10, 20 and 30; the last day is today."""
    with services.connect() as con:
        rows = con.sql(
            f"SELECT DATE '{TODAY}' - (3 - d)::INT AS event_date FROM range(1, 4) t(d),"
            " LATERAL range(10 * d)"
        )
        staged = services.lake.stage(EVENTS, rows, run_id="run", partition="all")
    services.lake.publish(staged, replace=None, properties={})
    return {one.name: one for one in table_series(services, EVENTS, TODAY)}


def test_rows_are_counted_by_day_without_today(events):
    found = events["events/silver/events/rows_per_day"]
    assert (found.days, found.values) == (
        (date(2026, 2, 27), date(2026, 2, 28)),
        (10, 20),
    )


def test_bytes_pile_up(services, events):
    sizes = services.lake.partition_sizes(EVENTS)
    first, second = (sizes[date(2026, 2, day)].bytes for day in (27, 28))
    assert events["events/silver/events/bytes"].values == (first, first + second)


def test_a_table_that_is_not_there_has_empty_series(services):
    assert [one.days for one in table_series(services, EVENTS, TODAY)] == [(), ()]


def test_sizes_of_database_and_disk_are_remembered_once_a_day(services):
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    remember_sizes(services, noon)
    remember_sizes(services, noon + timedelta(hours=1))
    with services.database.connection() as connection:
        found = {one.name: one for one in sampled_series(connection)}
    assert found["database/bytes"].days == found["disk/bytes"].days == (noon.date(),)
    assert found["database/bytes"].values[0] > 1_000_000


def test_sizes_are_remembered_by_a_job_of_every_day(settings):
    with running(settings) as platform:
        assert platform.run(sizes_job.name).success
        with platform.services.database.connection() as connection:
            observed = {one.name: len(one.days) for one in sampled_series(connection)}
    assert observed == {"database/bytes": 1, "disk/bytes": 1}


@pytest.fixture
def forty_days(settings, services, monkeypatch):
    """A database that grew by 1 MB a day; the environment points at this platform."""
    monkeypatch.setenv("PLATFORM_HOME", str(settings.home))
    monkeypatch.setenv("PLATFORM_DATABASE_URL", settings.database_url.get_secret_value())
    today = datetime.now(UTC).date()
    with services.database.transaction() as connection:
        for number in range(1, 41):
            day = today - timedelta(days=number)
            record_size(connection, "database", day, 100_000_000 - number * 1_000_000)


def test_the_command_forecasts_what_it_can_and_says_why_not_else(forty_days):
    ran = CliRunner().invoke(app, ["capacity", "--forecast-days", "30", "--json"])
    found = {row["series"]: row for row in json.loads(ran.stdout)}
    assert found["database/bytes"]["median"] > 0
    assert found["disk/bytes"]["not_measurable_reason"] == (
        "1 day was observed, at least 28 are needed"
    )


def test_the_script_of_the_runbook_does_the_same(forty_days, tmp_path):
    picture = tmp_path / "capacity.png"
    ran = subprocess.run(
        [
            sys.executable,
            "scripts/capacity_planning.py",
            *("--forecast-days", "90", "--plot", str(picture)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
        check=True,
    )
    assert "database: size: " in ran.stdout
    assert picture.stat().st_size > 1000


def test_nobody_is_told_what_would_be_the_case_on_another_day(settings):
    environment = {**settings.to_env(), "COLUMNS": "200"}
    words = ["capacity", "--tell", "--as-of", "2026-03-01"]
    result = CliRunner().invoke(app, words, env=environment)
    assert (result.exit_code, "another day" in result.stderr) == (2, True)


def test_the_job_of_every_day_opens_an_incident_of_a_crossed_limit_and_ends_it(
    settings, monkeypatch
):
    name = f"{DATABASE}/bytes"
    first = utc_now().date() - timedelta(days=40)
    states = []
    with running(settings) as platform:
        with platform.services.database.transaction() as connection:
            for number in range(40):
                record_size(connection, DATABASE, first + timedelta(days=number), 10**12)
        for limit in (1.0, 1e15):
            known = {
                **runbooks(),
                "web_events": runbooks()["web_events"].model_copy(
                    update={"capacity": {name: CapacityLimit(limit=limit, requirements=["SW-66"])}}
                ),
            }
            monkeypatch.setattr(capacity_alerts, "runbooks", lambda known=known: known)
            assert platform.run(sizes_job.name).success
            with platform.services.database.connection() as connection:
                states.append([(one.cause, one.state) for one in store.incidents(connection)])
    cause = f"capacity:{name}"
    assert states == [[(cause, "OPEN")], [(cause, "RESOLVED")]]
