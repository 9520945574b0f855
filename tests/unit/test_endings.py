"""How the command line ends: on Ctrl-C while it is still being imported, and by its own fault."""

import subprocess
import sys

import pytest

from pipeline_platform import cli

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


def test_a_fault_of_its_own_is_not_taken_for_a_check_that_fails(monkeypatch, capsys) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code, "a bug" in capsys.readouterr().err) == (70, True)
