"""A platform of its own for a benchmark: temporary home, embedded server, child processes.

Everything that is measured runs in a fresh process, because a process that did something else
before has its imports, memory and connections already.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_platform.settings import PREFIX, Settings
from pipeline_platform.warehouse import embedded

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """A child process that ended: wall and processor seconds, and its last JSON line."""

    wall_seconds: float
    cpu_seconds: float
    answer: dict[str, Any]


@contextmanager
def platform_home(**settings: Any) -> Iterator[Settings]:
    """Make a home folder with a running server; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        made = Settings(home=Path(folder) / "home", environment="test", **settings)
        embedded.start(made)
        try:
            yield made
        finally:
            embedded.stop(made)


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """Return a child's environment: these settings, no others, and byte code is kept.

    Without byte code every process compiles a gigabyte of libraries anew; the Makefile does the
    same.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((PREFIX, "DAGSTER_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    given = {
        "HOME": settings.home,
        "ENVIRONMENT": settings.environment,
        "MEMORY_LIMIT": settings.memory_limit,
        "THREADS": settings.threads,
    }
    if settings.database_url is not None:
        given["DATABASE_URL"] = settings.database_url.get_secret_value()
    ours = {f"{PREFIX}{name}": str(value) for name, value in given.items()}
    return {**kept, **ours, "PYTHONWARNINGS": "ignore", **changes}


def run_module(
    module: str, arguments: Sequence[str], variables: Mapping[str, str], *, is_json: bool = True
) -> Finished:
    """Run `python -m module` to its end; with `is_json` its last line is the answer."""
    return run([sys.executable, "-m", module, *arguments], variables, is_json=is_json)


def run(command: Sequence[str], variables: Mapping[str, str], *, is_json: bool = True) -> Finished:
    """Run a command to its end and measure it; SystemExit with its words if it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=ROOT, env={**variables}, stdout=output, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        wall_seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        printed = output.read()
        if child.returncode:
            raise SystemExit(
                f"{' '.join(command)} ended with {child.returncode}:\n"
                f"{printed[-2000:]}\n{errors.read()[-4000:]}"
            )
    answer = json.loads(printed.strip().splitlines()[-1]) if is_json else {}
    return Finished(wall_seconds, usage.ru_utime + usage.ru_stime, answer)
