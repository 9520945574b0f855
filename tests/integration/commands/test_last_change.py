"""The day of a runbook's last change comes from Git, and a page tells it (SA-101, D-12)."""

import os
import subprocess
from datetime import date
from pathlib import Path

import pytest

from pipeline_platform.commands.generate import updated_day
from pipeline_platform.commands.last_change import changed_on
from pipeline_platform.run_context import utc_now

COMMITTED = date(2026, 3, 31)


def git(folder: Path, *words: str) -> None:
    environment = {
        **os.environ,
        "GIT_AUTHOR_DATE": "2026-04-01T01:30:00 +0200",
        "GIT_COMMITTER_DATE": "2026-05-05T12:00:00 +0000",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    person = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", "-C", str(folder), *person, *words], env=environment, check=True)


@pytest.fixture
def runbook(tmp_path: Path) -> Path:
    """A runbook committed on the last evening of March, UTC, and other files before and since."""
    folder = tmp_path / "repository"
    folder.mkdir()
    path = folder / "runbook.yaml"
    git(folder, "init", "-q")
    for name in ("first.yaml", "runbook.yaml", "other.yaml"):
        (folder / name).write_text(name)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
    return path


def test_it_is_the_utc_day_of_the_commit_that_changed_it(runbook: Path) -> None:
    assert changed_on(runbook) == COMMITTED


def test_what_is_not_committed_was_changed_today(runbook: Path) -> None:
    runbook.write_text("changed")
    assert changed_on(runbook) == utc_now().date()


def test_without_a_repository_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "runbook.yaml").write_text("")
    assert changed_on(tmp_path / "runbook.yaml") is None


def test_without_git_nothing_is_known(runbook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert changed_on(runbook) is None


def test_of_what_came_with_the_first_commit_nothing_is_known(runbook: Path) -> None:
    assert changed_on(runbook.with_name("first.yaml")) is None


def test_a_repository_with_only_the_newest_commits_knows_nothing(runbook: Path) -> None:
    clone = runbook.parent.parent / "clone"
    git(runbook.parent, "clone", "-q", "--depth", "1", f"file://{runbook.parent}", str(clone))
    assert changed_on(clone / "runbook.yaml") is None


@pytest.mark.parametrize(
    ("told", "changed", "day"),
    [
        (date(2026, 3, 1), date(2026, 3, 31), date(2026, 3, 31)),
        (date(2026, 4, 9), date(2026, 3, 31), date(2026, 3, 31)),
        (date(2026, 3, 30), date(2026, 3, 31), date(2026, 3, 30)),
        (date(2026, 3, 1), None, date(2026, 3, 1)),
        (None, date(2026, 3, 31), date(2026, 3, 31)),
    ],
)
def test_a_page_tells_the_day_of_git(told: date | None, changed: date | None, day: date) -> None:
    assert updated_day(told, changed) == day


def test_a_new_page_where_git_knows_nothing_is_of_today() -> None:
    assert updated_day(None, None) == utc_now().date()
