"""Ctrl-C while the command line is still being imported, as in a process of its own."""

import subprocess
import sys

START = """
import signal, sys
from importlib.abc import MetaPathFinder

class CtrlC(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pipeline_platform.commands.alerts":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
from pipeline_platform.cli import main
"""


def test_it_ends_quietly() -> None:
    ended = subprocess.run([sys.executable, "-c", START], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")
