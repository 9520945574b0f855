"""`logs --follow`: each added line once, whatever becomes of the files; Ctrl-C ends it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.commands.log_lines import LogFiles
from pipeline_platform.logs import folder_of
from pipeline_platform.settings import Settings

NOW = datetime.now(UTC)
YESTERDAY, TODAY, TOMORROW = (
    f"{NOW + timedelta(days=number):%Y-%m-%d}.jsonl" for number in (-1, 0, 1)
)
Write = Callable[..., None]
Look = Callable[[], list[object]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, environment="test", log_format="json")


@pytest.fixture
def folder(settings: Settings) -> Path:
    made = folder_of(settings)
    made.mkdir(parents=True)
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    """Append a line to a day's file."""

    def append(message: str, file: str = TODAY, end: str = "\n", **more: str) -> None:
        line = {"timestamp": NOW.isoformat(), "level": "INFO", "message": message, **more}
        with (folder / file).open("a") as opened:
            opened.write(json.dumps(line) + end)

    return append


@pytest.fixture
def look(settings: Settings, write: Write) -> Iterator[Look]:
    """Look at what was added; one line of yesterday and one of today were read before."""
    write("old", YESTERDAY)
    write("first")
    files = LogFiles(settings, NOW)

    def messages() -> list[object]:
        return [line["message"] for line in files.added()]

    assert messages() == ["first"]
    yield messages
    files.close()


def test_each_added_line_is_seen_once(look: Look, write: Write) -> None:
    write("second")
    write("third")
    assert [look(), look()] == [["second", "third"], []]


def test_the_file_of_the_next_day_is_followed_beside_that_of_today(look, write) -> None:
    write("second")
    write("tomorrow", TOMORROW)
    first = look()
    write("late")
    write("tomorrow too", TOMORROW)
    assert [first, look()] == [["second", "tomorrow"], ["late", "tomorrow too"]]


def test_a_file_that_is_rotated_away_is_read_to_its_end_and_the_new_one_too(
    look: Look, write: Write, folder: Path
) -> None:
    (folder / TODAY).rename(folder / f"{TODAY}.1")
    write("by a writer that has the old one open", f"{TODAY}.1")
    write("in the new one")
    first = look()
    write("still in the old one", f"{TODAY}.1")
    assert first == ["by a writer that has the old one open", "in the new one"]
    assert look() == ["still in the old one"]


def test_a_file_that_is_cut_is_read_from_its_beginning(look, write, folder) -> None:
    (folder / TODAY).write_text("")
    write("2.")
    assert look() == ["2."]


def test_a_file_that_is_removed_is_read_to_its_end_and_let_go(look, write, folder) -> None:
    write("second")
    (folder / TODAY).unlink()
    first = look()
    write("anew")
    assert [first, look()] == [["second"], ["anew"]]


def test_half_a_line_comes_when_it_is_whole(look: Look, write: Write, folder: Path) -> None:
    write("second", end="")
    first = look()
    with (folder / TODAY).open("a") as opened:
        opened.write("\n")
    assert [first, look()] == [[], ["second"]]


@pytest.fixture
def program(settings: Settings, write: Write) -> Iterator["subprocess.Popen[str]"]:
    """Follow one pipeline, as a process of its own."""
    write("elsewhere", pipelineId="web_events")
    write("first", pipelineId="advisory_performance")
    path = str(Path(sys.executable).with_name("pipeline-platform"))
    options = ["logs", "--follow", "--pipeline", "advisory", "--json"]
    environment = {**os.environ, **settings.to_env()}
    with subprocess.Popen(
        [path, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_it_prints_what_comes_and_ends_well_on_ctrl_c(program, write: Write) -> None:
    """ST-74."""
    shown = [json.loads(program.stdout.readline())["message"]]
    write("elsewhere", pipelineId="web_events")
    write("second", TOMORROW, pipelineId="advisory_performance")
    shown.append(json.loads(program.stdout.readline())["message"])
    program.send_signal(signal.SIGINT)
    left, complaints = program.communicate(timeout=10)
    assert shown == ["first", "second"]
    assert (program.returncode, left, complaints) == (0, "", "")


def test_a_step_is_not_followed() -> None:
    told = CliRunner().invoke(app, ["logs", "--follow", "--run", "x"])
    assert told.exit_code == 2
    assert "watch RUN" in told.stderr
