"""`logs --pipeline`, and that commands log themselves, as processes of their own."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.commands import command_log
from pipeline_platform.commands.command_log import logged_command, named
from pipeline_platform.logs import folder_of, set_up, told
from pipeline_platform.settings import Settings

LOG = logging.getLogger("pipeline_platform.test")
Shown = Callable[..., list[dict[str, object]]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home whose log is of JSON lines, for this process and its commands."""
    found = Settings(home=tmp_path, environment="test", log_format="json")
    for name, value in found.to_env().items():
        monkeypatch.setenv(name, value)
    root, ours = logging.getLogger(), logging.getLogger("pipeline_platform")
    handlers, level = [*root.handlers], ours.level
    yield found
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture
def shown(settings: Settings) -> Shown:
    """Write some lines and return what `logs` shows of them."""
    set_up(settings, "test")
    LOG.info("taken", extra=told(pipelineId="web_events", request_id="r1"))
    LOG.error("broken", extra=told(pipelineId="web_events"))
    LOG.info("elsewhere", extra=told(pipelineId="advisory_performance"))
    (file,) = folder_of(settings).glob("*.jsonl")
    with file.open("a") as opened:
        opened.write('half a li\n[1]\n{"pipelineId": "web_events"}\n')

    def show(*arguments: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            CliRunner().invoke(app, ["logs", *arguments, "--json"]).stdout
        )
        return found

    return show


def messages(rows: list[dict[str, object]]) -> list[object]:
    return [row["message"] for row in rows]


def test_the_log_of_a_pipeline_is_shown_and_broken_lines_are_passed_over(shown: Shown) -> None:
    assert messages(shown("--pipeline", "web")) == ["taken", "broken"]


def test_errors_alone_can_be_asked_for(shown: Shown) -> None:
    assert messages(shown("--pipeline", "web", "--level", "error")) == ["broken"]


def test_a_request_is_followed(shown: Shown) -> None:
    assert messages(shown("--request", "r1")) == ["taken"]


def test_the_newest_lines_are_shown(shown: Shown) -> None:
    assert messages(shown("--pipeline", "web", "--limit", "1")) == ["broken"]


def test_without_a_log_it_says_what_makes_one(settings: Settings) -> None:
    found = CliRunner().invoke(app, ["logs", "--pipeline", "web"])
    assert found.exit_code == 2
    assert "PLATFORM_LOG_FORMAT=json" in found.stderr


def run(monkeypatch: pytest.MonkeyPatch, settings: Settings, code: object) -> dict[str, object]:
    """Run a command that ends so and return its line."""
    monkeypatch.setattr(sys, "argv", ["pipeline-platform", "run", "show", "--token", "abc"])
    ended = code if isinstance(code, Exception) else SystemExit(code)
    with pytest.raises((SystemExit, RuntimeError)), logged_command(app):
        raise ended
    (file,) = folder_of(settings).glob("*.jsonl")
    line: dict[str, object] = json.loads(file.read_text().splitlines()[-1])
    return line


@pytest.mark.parametrize(("code", "status"), [(0, "success"), (2, "error"), (75, "error")])
def test_a_command_is_logged_by_its_name_and_end(monkeypatch, settings, code, status) -> None:
    line = run(monkeypatch, settings, code)
    assert (line["operation"], line["component"]) == ("run show", command_log.COMPONENT)
    assert (line["status"], line["metadata"]) == (status, {"exit_code": code})


def test_a_crash_is_logged_with_an_exit_code_of_its_own(monkeypatch, settings) -> None:
    assert run(monkeypatch, settings, RuntimeError("a bug"))["metadata"] == {"exit_code": 70}


def test_what_is_given_to_a_command_is_not_logged(monkeypatch, settings) -> None:
    assert "abc" not in json.dumps(run(monkeypatch, settings, 0))


def test_an_unexpected_end_is_logged_with_its_reason(monkeypatch, settings) -> None:
    run(monkeypatch, settings, RuntimeError("password=hunter2 was wrong"))
    (file,) = folder_of(settings).glob("*.jsonl")
    failed = json.loads(file.read_text().splitlines()[-2])
    assert failed["error"]["message"] == "password=*** was wrong"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["run", "show", "x"], "run show"),
        (["demo", "--days", "3"], "demo"),
        ([], "help"),
        (["--help"], "help"),
        (["no-such-command"], "help"),
    ],
)
def test_a_command_is_named_by_the_words_before_its_arguments(words, name) -> None:
    assert named(app, words) == name


def test_a_command_of_its_own_has_a_name(settings) -> None:
    single = typer.Typer()
    single.command()(lambda: None)
    assert named(single, ["x"]) == "help"
