"""When a file was changed last, as Git has it (SA-101, D-12)."""

import os
import subprocess
from datetime import date
from pathlib import Path

from pipeline_platform.run_context import utc_now


def changed_on(path: Path) -> date | None:
    """Return the UTC day of a file's last change: its commit's, or today if there is a newer one.

    None where Git can't tell: it is not installed, the file is in no repository, or that has only
    the newest commits.
    """
    if _git(path, "rev-parse", "--is-shallow-repository") != "false":
        return None
    if _git(path, "status", "--porcelain", "--", path.name):
        return utc_now().date()
    day = _git(path, "log", "-1", "--format=%ad", "--date=format-local:%Y-%m-%d", "--", path.name)
    return date.fromisoformat(day) if day else None


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
