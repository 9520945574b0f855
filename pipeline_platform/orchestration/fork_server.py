"""The process from which runs are forked: everything is imported in it, nothing is open.

    python -m pipeline_platform.orchestration.fork_server DESCRIPTOR PRELOAD...

Started and kept by `run_launcher.ForkingRunLauncher`; DESCRIPTOR is a socket to it, PRELOAD a
module to import beforehand, or `module:function` to call. Each message on the socket is one JSON
object: that it is ready, once; then a request for each run, and its answer. A fork costs a
hundredth of a second where a new process needs seconds for imports.

Only a process without threads can be forked safely, so this one has none, and holds neither a
connection nor a run of its own. It watches the processes that it forked: one that dies without an
answer is reported to Dagster as a failed run, by another fork. When its launcher is gone it starts
nothing more and ends with its last run.
"""

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation
from dagster._utils.interrupts import capture_interrupts

from pipeline_platform.code_version import code_version
from pipeline_platform.orchestration.pooled_storage import PooledEventLogStorage
from pipeline_platform.orchestration.run_processes import PROCESS_TAG, RunProcess

MESSAGE_BYTES = 1 << 20
_forking = multiprocessing.get_context("fork")


class ForkServer:
    """Forks runs for the launcher at the other end of a socket, and watches them."""

    def __init__(self, launcher: socket.socket) -> None:
        self._launcher = launcher
        self._selector = selectors.DefaultSelector()
        self._selector.register(launcher, selectors.EVENT_READ)
        self._processes: dict[int, tuple[BaseProcess, str, str]] = {}
        self._has_launcher = True

    def serve(self) -> None:
        """Answer until the launcher is gone and every forked process has ended."""
        while self._has_launcher or self._processes:
            for key, _ in self._selector.select():
                if key.fileobj is self._launcher:
                    self._answer()
                else:
                    self._see_off(key.fd)

    def _answer(self) -> None:
        try:
            message = self._launcher.recv(MESSAGE_BYTES)
        except ConnectionError:
            message = b""
        if not message:
            self._selector.unregister(self._launcher)
            self._has_launcher = False
            return
        wanted = json.loads(message)
        go, may_go = _forking.Pipe(duplex=False)
        process = self._fork(execute, wanted["instance"], wanted["run_id"], go, may_go)
        go.close()
        # The run begins only once its launcher knows of it: one that hears nothing launches the
        # run otherwise, and it must not run twice.
        with contextlib.suppress(ConnectionError):
            self._launcher.send(json.dumps({"pid": process.pid}).encode())
            may_go.send_bytes(b"go")
        may_go.close()

    def _fork(self, target: Any, instance: str, run_id: str, *more: Any) -> BaseProcess:
        arguments = (target, instance, run_id, *more)
        process = _forking.Process(target=self._in_child, args=arguments, name=target.__name__)
        process.start()
        self._processes[process.sentinel] = (process, instance, run_id)
        self._selector.register(process.sentinel, selectors.EVENT_READ)
        return process

    def _in_child(self, target: Any, *arguments: Any) -> None:
        self._launcher.close()
        self._selector.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        target(*arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        # What libraries want done at exit; freeing half a million objects one by one is not.
        atexit._run_exitfuncs()

    def _see_off(self, sentinel: int) -> None:
        process, instance, run_id = self._processes.pop(sentinel)
        self._selector.unregister(sentinel)
        process.join()
        if process.exitcode and process.name == execute.__name__:
            self._fork(report_crash, instance, run_id, process.exitcode)
        process.close()


def execute(instance: str, run_id: str, go: Connection, may_go: Connection) -> None:
    """Execute a run in this process, as soon as it may go."""
    may_go.close()
    try:
        go.recv_bytes()
    except EOFError:
        return
    reference = deserialize_value(instance, InstanceRef)
    with capture_interrupts(), DagsterInstance.from_ref(reference) as opened:
        if isinstance(opened.event_log_storage, PooledEventLogStorage):
            opened.event_log_storage.hold_back_chatter()
        opened.add_run_tags(run_id, {PROCESS_TAG: RunProcess.current().to_tag()})
        _execute_run_command_body(run_id, opened, lambda _: None, set_exit_code_on_failure=False)


def report_crash(instance: str, run_id: str, exit_code: int) -> None:
    """Mark a run as failed whose process died, unless it said how it ended."""
    with DagsterInstance.from_ref(deserialize_value(instance, InstanceRef)) as opened:
        run = opened.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            prefix = f"Run execution process for {run_id}"
            opened.report_engine_event(get_run_crash_explanation(prefix, exit_code), run)
            opened.report_run_failed(run)


def main(arguments: Sequence[str]) -> None:
    """Import what is to be at hand, say so, and serve."""
    descriptor, *preload = arguments
    version = code_version()
    for name in preload:
        module, _, function = name.partition(":")
        imported = importlib.import_module(module)
        if function:
            getattr(imported, function)()
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        raise SystemExit(f"The fork server must have one thread, it has: {names}.")
    # Ctrl-C in a terminal reaches the runs, which then say that they were interrupted. (Libraries
    # change this while they are imported.)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as launcher:
        launcher.set_inheritable(False)
        launcher.send(json.dumps({"code_version": version, "pid": os.getpid()}).encode())
        ForkServer(launcher).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
