"""When a file was changed last, as Git has it (SA-101, D-12)."""

import os
import subprocess
from datetime import date
from pathlib import Path

from pipeline_platform.run_context import utc_now


def changed_on(path: Path) -> date | None:
    """Return the UTC day of a file's last change: its commit's, or today if there is a newer one.

    None where Git can't tell: it is not installed, the file is in no repository, or came with the
    first commit that is known, as in a copy without the history or with only the newest of it.
    """
    if _git(path, "status", "--porcelain", "--", path.name):
        return utc_now().date()
    dated = ("--format=%ad %p", "--date=format-local:%Y-%m-%d")
    day, _, before = (_git(path, "log", "-1", *dated, "--", path.name) or "").partition(" ")
    return date.fromisoformat(day) if before else None


def _git(path: Path, *words: str) -> str | None:
    """Return what Git says in a file's folder; None if it can't say anything."""
    try:
        said = subprocess.run(
            ["git", "-C", str(path.parent), *words],
            env={**os.environ, "TZ": "UTC"},
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
