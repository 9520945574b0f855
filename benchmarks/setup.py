"""Set-up on an empty machine: clone, install, demo, tests, timed step by step.

    python -m benchmarks.setup [--with-tests]

Bar (design, section 6): two commands on a machine with Python 3.11 and git, `make demo` and
`make test`. A fresh clone of this repository's last commit goes to a temporary folder; what is
not committed is not part of it. `make demo` installs everything, takes sample files to gold,
evaluates the checks and prints a summary; `make demo` a second time shows what the installation
cost. Downloads depend on the network and on the package cache of the machine. Runs only when asked
for by name.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.sandbox import ROOT
from pipeline_platform.settings import PREFIX

PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def timed(command: Sequence[str], folder: Path) -> tuple[int, float, str]:
    """Run one command with nothing of this checkout in its environment."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((PREFIX, "DAGSTER_")) and name not in PYTHON_VARIABLES
    }
    began = time.perf_counter()
    finished = subprocess.run(
        command, cwd=folder, env=variables, check=False, capture_output=True, text=True
    )
    printed = finished.stdout + finished.stderr
    return finished.returncode, time.perf_counter() - began, printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Clone, make and print; 1 if a step fails."""
    parser = argparse.ArgumentParser(prog="benchmarks.setup", description=__doc__)
    parser.add_argument("--with-tests", action="store_true", help="`make test`, too")
    parser.add_argument("--small", action="store_true", help="accepted and without effect")
    given = parser.parse_args(arguments)
    root = Path(tempfile.mkdtemp(prefix="benchmark-setup-"))
    clone = root / "clone"
    steps = {
        "git clone": (["git", "clone", "--quiet", str(ROOT), str(clone)], root),
        "make demo": (["make", "demo"], clone),
        "make demo, again": (["make", "demo"], clone),
    }
    if given.with_tests:
        steps["make test"] = (["make", "test"], clone)
    failed = None
    try:
        for name, (command, folder) in steps.items():
            code, seconds, printed = timed(command, folder)
            print(f"{name:<20}{seconds:8.1f} s  exit code {code}")
            if code:
                failed = name
                print(printed[-4000:])
                break
    finally:
        if clone.exists():
            timed(["make", "stop"], clone)
        shutil.rmtree(root, ignore_errors=True)
    print(f"Bar, two commands: {f'MISSED, {failed} failed' if failed else 'met'}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
