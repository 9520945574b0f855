"""Launches runs by forking them from a process in which everything is already imported.

Dagster's own launcher starts a new Python for each run, which imports Dagster, dbt and the
platform for seconds before it does anything. Here the process that launches (the daemon; the UI's
server) keeps a fork server (`fork_server`). Where that can't serve, the run is launched in the
ordinary way: on other systems than Linux, for code that is not on this machine or in another
environment, or when the fork server can't be started.

A fork server belongs to one version of the code: when a source has changed since it was started,
the next run gets a new one, and runs of the old one go on. The first run after such a change waits
for the imports, as every run did before.

A run of a pipeline that is stopped is not begun: it is cancelled, with the reason (SA-67).
"""

import importlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from dagster import Array, Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClassData, serialize_value

from pipeline_platform.code_version import code_version_on_disk
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.orchestration.run_processes import RunProcess

MESSAGE_BYTES = 1 << 20
START_SECONDS = 120
ANSWER_SECONDS = 30
_HERE = {"localhost", "127.0.0.1", "::1"}


class ForkServerError(Exception):
    """The fork server did not start a run, and won't."""


class ForkServerProcess:
    """A fork server and the socket to it; ForkServerError if it does not answer."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        module = "pipeline_platform.orchestration.fork_server"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        try:
            self._code_version = self._receive(START_SECONDS)["code_version"]
        except ForkServerError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def is_current(self) -> bool:
        """Whether the server lives and has imported the code that is on disk now."""
        return self._process.poll() is None and self._code_version == code_version_on_disk()

    def start_run(self, instance: str, run_id: str) -> int:
        """Fork a process for a run and return its id; until then the run has not begun."""
        try:
            self._socket.send(json.dumps({"instance": instance, "run_id": run_id}).encode())
        except OSError as error:
            raise ForkServerError(f"The fork server is gone ({error}).") from error
        return int(self._receive(ANSWER_SECONDS)["pid"])

    def close(self) -> None:
        """Let the server end; it does so after its last run."""
        self._socket.close()

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._socket.settimeout(seconds)
        try:
            message = self._socket.recv(MESSAGE_BYTES)
        except OSError as error:
            raise ForkServerError(f"The fork server did not answer ({error}).") from error
        if not message:
            raise ForkServerError("The fork server ended without an answer.")
        answer: dict[str, Any] = json.loads(message)
        return answer


class ForkingRunLauncher(DefaultRunLauncher):
    """Launches runs as forks of a process that has done `preload`.

    Each entry is the name of a module to import, or `module:function` to call. `gate` is a
    `module:function` that is asked for each run and says why it must not begin, or None.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        gate: str | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(inst_data)
        self._preload = list(preload)
        self._gate = gate
        self._server: ForkServerProcess | None = None
        self._lock = threading.Lock()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the settings that dagster.yaml may give."""
        return {
            "preload": Field(Array(str), default_value=[], is_required=False),
            "gate": Field(str, is_required=False),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Build the launcher that dagster.yaml describes."""
        return cls(config_value["preload"], config_value.get("gate"), inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork the run's process, or launch it in the ordinary way where that can't be."""
        run = context.dagster_run
        refusal = self._refusal(run)
        if refusal is not None:
            self._instance.add_run_tags(run.run_id, {STOPPED_TAG: "true"})
            self._instance.report_run_canceled(run, refusal)
            return
        if not can_fork(run):
            super().launch_run(context)
            return
        try:
            self._fork(run)
        except ForkServerError as error:
            self._instance.report_engine_event(
                f"{error} This run starts in a new process instead.", run, cls=type(self)
            )
            super().launch_run(context)
        else:
            self._run_ids.add(run.run_id)

    def _refusal(self, run: DagsterRun) -> str | None:
        if self._gate is None:
            return None
        module, _, function = self._gate.partition(":")
        asked: Callable[[DagsterRun], str | None] = getattr(
            importlib.import_module(module), function
        )
        return asked(run)

    def _fork(self, run: DagsterRun) -> None:
        with self._lock:
            if self._server is None or not self._server.is_current:
                self._let_go()
                self._server = ForkServerProcess(self._preload)
            try:
                self._server.start_run(serialize_value(self._instance.get_ref()), run.run_id)
            except ForkServerError:
                self._let_go()
                raise

    def _let_go(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def terminate(self, run_id: str) -> bool:
        """Ask a run's process to end; True if it was asked."""
        run = self._instance.get_run_by_id(run_id)
        process = RunProcess.of_run(run.tags) if run else None
        if run is None or run.is_finished or process is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        if process.is_here and process.interrupt():
            return True
        reason = "has ended" if process.is_here else f"is on the machine {process.host}"
        self._instance.report_engine_event(
            f"The run's process {process.pid} can't be asked to end: it {reason}.",
            run,
            cls=type(self),
        )
        return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask whether a run's process lives."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Tell whether a run's process lives.

        The fork server reports a dead one itself; this finds it when the server died, too. Of a
        run that was launched in the ordinary way its code server takes care.
        """
        process = RunProcess.of_run(run.tags)
        if process is None or not process.is_here or process.is_alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The run's process {process.pid} has ended without a word."
        )

    def dispose(self) -> None:
        """Let the fork server end after its last run."""
        with self._lock:
            self._let_go()


def can_fork(run: DagsterRun) -> bool:
    """Tell whether a run's code is this environment's, on this machine, and this is Linux."""
    code, remote = run.job_code_origin, run.remote_job_origin
    if sys.platform != "linux" or code is None:
        return False
    if code.executable_path != sys.executable or code.repository_origin.container_image:
        return False
    location = remote.repository_origin.code_location_origin if remote else None
    return not isinstance(location, GrpcServerCodeLocationOrigin) or bool(
        location.socket or location.host in _HERE
    )
