"""Work that says which phase it begins, in its own process: let alone, or killed in a phase."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

PROCESSES = multiprocessing.get_context("forkserver")


class PhasedWork:
    """The `main` of a module, which says each of its PHASES as it begins, and "done"."""

    def __init__(self, module: ModuleType) -> None:
        PROCESSES.set_forkserver_preload([module.__name__])
        self._main: Callable[[Path, str, Connection], None] = module.main
        self._phases: Sequence[str] = module.PHASES

    def finish(self, home: Path, url: str) -> dict[str, float]:
        """Let it work undisturbed; return how long each phase took."""
        process, said = self._start(home, url)
        began = {said.recv(): time.perf_counter() for _ in [*self._phases, "done"]}
        process.join(60)
        assert (process.exitcode, list(began)) == (0, [*self._phases, "done"])
        return {one: began[then] - began[one] for one, then in pairwise(began)}

    def kill_in(self, phase: str, home: Path, url: str, after: float) -> None:
        """Kill it so many seconds after it has begun a phase; sooner, where that was too late."""
        is_killed = False
        while not is_killed:
            process, said = self._start(home, url)
            while said.recv() != phase:
                pass
            time.sleep(after)
            process.kill()
            process.join(60)
            is_killed, after = process.exitcode == -signal.SIGKILL, after / 2

    def _start(self, home: Path, url: str) -> tuple[BaseProcess, Connection]:
        said, saying = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=self._main, args=(home, url, saying))
        process.start()
        saying.close()
        return process, said
