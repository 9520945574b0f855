"""The guided recovery does its eight steps once each, goes on where it ended, and stops first."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.record import STEPS, Step
from pipeline_platform.recovery.steps import Recoverer
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded, stops
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.wal import keep_all
from tests.integration.commands.conftest import Shell
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

YEAR = timedelta(days=365)
GIVEN = {"database": None, "lake": None, "at": None, "backup_id": None}


def recoverer(settings: Settings, **others: Any) -> Recoverer:
    return Recoverer(settings, by="test", clock=utc_now, end_runs=lambda: 0, **others)


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
    steps = recoverer(lost, lessons=["keep the log on another disk"])
    rest = list(steps.go_on(steps.unfinished()))
    assert [one.step for one in rest] == ["verify", "resume", "validate", "lessons"]
    assert any("archived files that the database no longer knew" in one for one in rest[1].said)
    with Services(lost) as services:
        assert not is_stopped(services)
        assert len(services.landing("web_events").claimed()) == 1
    assert steps.unfinished() is None
    assert rest[2].said[0] == "11 aspects were looked at, 0 things are wrong"
    assert rest[3].said[0] == "1 lessons are written down"


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


@dataclass
class Learnt:
    """What a recovery left behind, and what commands say of it."""

    report: Any
    page: str
    postmortem: str
    earlier: str


INCIDENT = """
    INSERT INTO incidents (pipeline, cause, title, severity, route, response_minutes, remedy,
        began_at, severe_at, opened_at, told_at, resolved_at, resolution, state)
    VALUES ('web_events', 'run:x', 'It failed', 'critical', 'pipeline_failures', 15,
        '{"command": "pipeline-platform runs"}', %(from)s, %(from)s, %(from)s, %(from)s, %(to)s,
        'green', 'RESOLVED')
    RETURNING incident_id
"""


@pytest.fixture(scope="module")
def learnt(new_database, tmp_path_factory) -> Learnt:
    """Recover with a reader's query that is not answered, then write down what was learnt."""

    def refused() -> object:
        raise RuntimeError("no such column")

    url, began_at = SecretStr(new_database()), utc_now()
    settings = Settings(
        home=tmp_path_factory.mktemp("learnt") / "home", environment="test", database_url=url
    )
    with Services(settings) as services:
        publish(services, BALANCES, MONTHS[0], 100, "run")
        create_backup(services, reason="test", clock=utc_now, has_database=False)
    steps = recoverer(settings, queries=lambda _: {"breaches": refused})
    list(steps.go_on(steps.begin("the disk was full", **GIVEN)))
    shell = Shell(settings.home, url.get_secret_value())
    assert shell("recover", "--lessons", "watch the disk").exit_code == 0
    (report,) = (settings.home / "recovery").glob("*-reconciliation.json")
    (page,) = (settings.home / "recovery").glob("*-lessons.md")
    told = []
    for begun, ended in ((began_at, utc_now()), (began_at - YEAR, began_at - YEAR)):
        with Services(settings) as services, services.database.transaction() as connection:
            (number,) = connection.execute(INCIDENT, {"from": begun, "to": ended}).fetchone()
        told.append(shell("incidents", "postmortem", str(number)).stdout)
    return Learnt(json.loads(report.read_text("utf-8")), page.read_text("utf-8"), *told)


def test_what_the_validation_finds_is_in_the_reconciliation(learnt: Learnt) -> None:
    found = {one["aspect"]: one["faults"] for one in learnt.report["validation"]}
    assert found["sample queries"] == ["breaches: no such column"]


def test_the_reconciliation_has_each_pipeline_and_the_rows_of_the_lake(learnt: Learnt) -> None:
    assert {*learnt.report["pipelines"]} == {"advisory_performance", "web_events"}
    assert learnt.report["lake_tables"] == [
        {"table": "sample_silver.balances", "rows": 3, "rows_in_backup": 3}
    ]


def test_lessons_are_on_the_page_of_the_recovery(learnt: Learnt) -> None:
    assert "- watch the disk" in learnt.page


def test_a_post_mortem_has_the_recovery_that_was_under_way(learnt: Learnt) -> None:
    wanted = ["| restore | nothing had to be restored |", "no such column", "- watch the disk"]
    assert [text for text in wanted if text not in learnt.postmortem] == []


def test_a_post_mortem_of_another_time_has_not(learnt: Learnt) -> None:
    assert "watch the disk" not in learnt.earlier


def test_without_a_recovery_there_is_nothing_to_learn_from(settings: Settings) -> None:
    shell = Shell(settings.home, settings.database_url.get_secret_value())
    assert shell("recover", "--lessons", "watch the disk").exit_code == 2


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
