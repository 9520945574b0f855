"""Which process executes a run, so that any other on the same machine can ask it to end.

A process id alone may have been given to another process meanwhile; with the machine's name and
the instant at which the process started, it means one process for ever.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dagster._core.storage.tags import HIDDEN_TAG_PREFIX

PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}run_process"


@dataclass(frozen=True)
class RunProcess:
    """A process: the machine's name, its id, and its start in clock ticks since boot."""

    host: str
    pid: int
    started_ticks: int

    @classmethod
    def current(cls) -> Self:
        """Return the process that asks."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _started_ticks(pid) or 0)

    @classmethod
    def of_run(cls, tags: Mapping[str, str]) -> Self | None:
        """Return the process that a run's tags name, if one of ours executes it."""
        tag = tags.get(PROCESS_TAG)
        return cls(**json.loads(tag)) if tag else None

    def to_tag(self) -> str:
        """Return the value of the run's tag."""
        return json.dumps(asdict(self))

    @property
    def is_here(self) -> bool:
        """Whether this machine is the process's."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; only asked on its own machine."""
        return _started_ticks(self.pid) == self.started_ticks

    def interrupt(self) -> bool:
        """Ask the process to end as Ctrl-C would; False if it has ended."""
        if not self.is_alive:
            return False
        os.kill(self.pid, signal.SIGINT)
        return True

    def end(self, seconds: float) -> None:
        """Ask the process to end and wait for so long; then end it, also one that is suspended."""
        until = time.monotonic() + seconds
        self.interrupt()
        while self.is_alive:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                until = float("inf")
            time.sleep(0.05)


def _started_ticks(pid: int) -> int | None:
    """Return when a process started; None if there is none, or only its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else int(started)
