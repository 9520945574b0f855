"""The guided recovery does its six steps once each, goes on where it ended, and stops first."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.steps import STEPS, Recoverer, Step
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded, stops
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.wal import keep_all
from tests.integration.recovery.conftest import (
    BALANCES,
    MONTHS,
    BackedUp,
    fill,
    note,
    notes,
    platform,
    publish,
    rows_of,
)

GIVEN = {"database": None, "lake": None, "at": None, "backup_id": None}


def recoverer(settings: Settings, ended: list[int] | None = None) -> Recoverer:
    return Recoverer(settings, by="test", clock=utc_now, end_runs=lambda: len(ended or ()) or 0)


def is_stopped(services: Services) -> bool:
    with services.database.connection() as connection:
        return stops.EVERYTHING in stops.stops(connection)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Make a platform with a backup, then lose its database and its lake."""
    with platform(tmp_path_factory.mktemp("lost")) as settings:
        with Services(settings) as services:
            fill(services)
            create_backup(services, reason="test", clock=utc_now)
            note(services, "after the backup")
            services.landing("web_events").put("late.ndjson", b"{}\n")
            claimed = services.landing("web_events").claim("late.ndjson")
            services.landing("web_events").archive(claimed)
            with services.database.autocommit_connection() as connection:
                keep_all(connection)
        embedded.stop(settings)
        shutil.rmtree(settings.home / "postgres" / "data")
        shutil.rmtree(settings.processed_location)
        yield settings


def test_a_plan_says_what_is_broken_and_changes_nothing(lost: Settings) -> None:
    plan = dict(recoverer(lost).plan(recoverer(lost).draft("lost", **GIVEN)))
    assert [*plan] == [*STEPS]
    assert "its data are gone" in plan["assess"][0]
    assert "newest kept change" in plan["choose"][0]
    assert not (lost.home / "postgres" / "data").exists()


@dataclass
class Attempts:
    """What two attempts did, and the folder of the database's data after each."""

    steps: list[list[Step]]
    said: tuple[str, ...]
    folders: list[int]


@pytest.fixture(scope="module")
def attempts(lost: Settings) -> Attempts:
    """Recover up to the restoration; the first attempt can't read the lake's backup."""
    data, lake = ServerFiles(lost.home).data, Path(lost.backups_location) / "lake"
    first, failed = recoverer(lost), list[Step]()
    away = lake.rename(lake.with_name("away"))
    with pytest.raises(PermanentError, match="use another backup"):
        failed.extend(one.step for one in first.go_on(first.begin("lost", **GIVEN)))
    away.rename(lake)
    brought_back = data.stat().st_ino
    second = recoverer(lost)
    done = list(second.go_on(second.unfinished(), until="restore"))
    folders = [brought_back, data.stat().st_ino]
    return Attempts([failed, [one.step for one in done]], done[-1].said, folders)


def test_what_was_done_is_not_done_again(attempts: Attempts) -> None:
    assert attempts.steps == [["assess", "stop", "choose"], ["restore"]]


def test_a_database_that_came_back_is_not_brought_back_again(attempts: Attempts) -> None:
    assert attempts.folders[0] == attempts.folders[1]
    assert "same counts and checksums" in attempts.said[0]


@pytest.mark.usefixtures("attempts")
@pytest.mark.parametrize("until", ["assess", "restore"])
def test_up_to_a_step_that_was_done_before_nothing_is_done(lost: Settings, until: Step) -> None:
    steps = recoverer(lost)
    assert list(steps.go_on(steps.unfinished(), until=until)) == []
    assert steps.unfinished().next_step == "verify"


@pytest.mark.usefixtures("attempts")
def test_the_command_says_that_the_step_was_done_before(
    lost: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lost.to_env().items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(app, ["recover", "--go", "--until", "restore"])
    assert told.exit_code == 0, told.output
    assert "restore was done before; without --until it goes on with verify." in told.stdout


@pytest.mark.usefixtures("attempts")
def test_a_recovery_that_ended_half_way_goes_on(lost: Settings) -> None:
    with Services(lost) as services:
        assert is_stopped(services)
        assert notes(services) == ["after the backup"]
        assert [row[2] for row in rows_of(services, BALANCES)] == [100, 101, 102]
    steps = recoverer(lost)
    rest = list(steps.go_on(steps.unfinished()))
    assert [one.step for one in rest] == ["verify", "resume"]
    assert any("archived files that the database no longer knew" in one for one in rest[1].said)
    with Services(lost) as services:
        assert not is_stopped(services)
        assert len(services.landing("web_events").claimed()) == 1
    assert steps.unfinished() is None


@pytest.fixture
def by_url(settings: Settings) -> Iterator[Services]:
    with Services(settings) as services:
        publish(services, BALANCES, MONTHS[0], 100, "run")
        create_backup(services, reason="test", clock=utc_now, has_database=False)
        yield services


def test_with_nothing_broken_nothing_is_restored(by_url: Services) -> None:
    steps = recoverer(by_url.settings)
    done = {one.step: one.said for one in steps.go_on(steps.begin("doubt", **GIVEN))}
    assert done["restore"] == ("nothing had to be restored",)


def test_a_recovery_whose_last_step_was_asked_for_is_ended(by_url: Services) -> None:
    steps = recoverer(by_url.settings)
    list(steps.go_on(steps.begin("doubt", **GIVEN), until=STEPS[-1]))
    assert steps.unfinished() is None


def test_everything_stays_stopped_while_something_is_wrong(by_url: Services) -> None:
    steps = recoverer(by_url.settings)
    recovery = steps.begin("lost", **GIVEN)
    list(steps.go_on(recovery, until="restore"))
    next(Path(by_url.settings.processed_location).glob("**/*.parquet")).unlink()
    with pytest.raises(PermanentError, match="lost 1 files"):
        list(steps.go_on(recovery))
    assert is_stopped(by_url)


def test_without_a_backup_a_lost_lake_is_said_to_be_lost(settings: Settings) -> None:
    with Services(settings) as services:
        publish(services, BALANCES, MONTHS[0], 100, "run")
        shutil.rmtree(settings.processed_location)
        steps = recoverer(settings)
        with pytest.raises(NotFoundError, match="no sound backup of the lake"):
            list(steps.go_on(steps.begin("lost", **GIVEN)))


def test_the_backed_up_platform_is_whole(backed_up: BackedUp) -> None:
    plan = dict(
        recoverer(backed_up.settings).plan(recoverer(backed_up.settings).draft("x", **GIVEN))
    )
    assert plan["assess"][1] == "lake: no table has lost a file"
