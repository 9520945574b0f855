"""`landing list` and `put`: folders as they are, hostile names made harmless."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands.conftest import Processed, Shell


def put(shell: Shell, folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).write_text(f"content {number}")
        result = shell("landing", "put", str(folder / name))
        assert result.exit_code == 0, result.output


def test_list_shows_what_waits(shell: Shell, tmp_path: Path) -> None:
    put(shell, tmp_path, "a.csv", "b.csv")
    listed = shell.json("landing", "list", "advisory_performance", "incoming")
    assert [one["file"] for one in listed] == ["a.csv", "b.csv"]


def test_tail_shows_the_newest(shell: Shell, tmp_path: Path) -> None:
    put(shell, tmp_path, "a.csv", "b.csv", "c.csv")
    listed = shell.json("landing", "list", "advisory_performance", "incoming", "--tail", "1")
    assert [one["file"] for one in listed] == ["c.csv"]


def test_the_beginning_of_a_pipeline_is_enough(shell: Shell) -> None:
    assert shell("landing", "list", "advisory", "archive").exit_code == 0


def test_archived_files_are_listed_below_their_hash(processed: Processed) -> None:
    listed = processed.shell.json("landing", "list", "advisory", "archive", "--tail", "1")
    assert len(listed[0]["file"].split("/")) == 3


@pytest.mark.parametrize(
    "arguments",
    [("nothing_like_it", "incoming"), ("advisory", "outgoing"), ("../..", "incoming")],
)
def test_an_unknown_pipeline_or_folder_is_wrong_use(
    shell: Shell, arguments: tuple[str, str]
) -> None:
    assert shell("landing", "list", *arguments).exit_code == 2


def test_putting_a_file_that_is_not_there_is_wrong_use(shell: Shell, tmp_path: Path) -> None:
    assert shell("landing", "put", str(tmp_path / "absent.csv")).exit_code == 2


@pytest.mark.parametrize("name", ["red\x1b[31m.csv", "turn\u202e.csv", "bell\x07.csv"])
def test_no_name_steers_the_terminal(shell: Shell, name: str) -> None:
    incoming = shell.home / "landing" / "advisory_performance" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / name).write_text("x")
    shown = shell("landing", "list", "advisory", "incoming").stdout
    assert not {"\x1b", "\u202e"} & set(shown)


def test_markup_in_a_name_is_shown_as_it_is(shell: Shell) -> None:
    incoming = shell.home / "landing" / "advisory_performance" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "[bold]x[").write_text("x")
    assert "[bold]x[" in shell("landing", "list", "advisory", "incoming").stdout


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_name_that_is_no_text_does_not_end_the_command(shell: Shell, extra: list[str]) -> None:
    incoming = shell.home / "landing" / "advisory_performance" / "incoming"
    incoming.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(incoming) + b"/bad\xff.csv")).write_text("x")
    command = [str(Path(sys.executable).with_name("pipeline-platform")), "landing", "list"]
    finished = subprocess.run(
        [*command, "advisory", "incoming", *extra],
        env={**shell.environment},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (finished.returncode, b"Traceback" in finished.stderr) == (0, False)
