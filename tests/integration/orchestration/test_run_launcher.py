"""Runs forked from a loaded process: they succeed, end when asked, and never die unnoticed.

A small code location of its own, a real code server, a real fork server, runs through GraphQL.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.cli import execute_query

from pipeline_platform.orchestration import run_launcher
from pipeline_platform.orchestration.instance import ROOT
from pipeline_platform.orchestration.run_launcher import (
    ForkingRunLauncher,
    ForkServerError,
    ForkServerProcess,
)
from pipeline_platform.orchestration.run_processes import PROCESS_TAG, RunProcess

CODE = """
import os, time
import dagster as dg

VALUE = {value}

@dg.asset
def quick():
    return dg.MaterializeResult(metadata={{"value": VALUE, "parent": os.getppid()}})

@dg.asset
def endless(context):
    context.log.info("It has begun.")
    while True:
        time.sleep(0.05)

@dg.asset
def broken():
    raise dg.Failure("It can't be done.", allow_retries=False)

defs = dg.Definitions(
    assets=[quick, endless, broken],
    jobs=[dg.define_asset_job(name + "_job", name) for name in ("quick", "endless", "broken")],
    executor=dg.in_process_executor,
)
"""
LAUNCH = """
mutation ($job: String!) {
  launchRun(executionParams: {mode: "default", runConfigData: {}, selector: {
    jobName: $job, repositoryName: "__repository__", repositoryLocationName: "launched"
  }}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
MODULE = "launched_code"


class Launching:
    """An instance with the launcher, a workspace, and what tests ask of them."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        self.instance = instance
        self.workspace = workspace

    @property
    def launcher(self) -> ForkingRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, ForkingRunLauncher)
        return launcher

    def launch(self, job: str) -> str:
        answer = execute_query(self.workspace, LAUNCH, {"job": f"{job}_job"})
        return str(answer["data"]["launchRun"]["run"]["runId"])

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def finish(self, run_id: str) -> dg.DagsterRunStatus:
        wait_until(lambda: self.instance.get_run_by_id(run_id).is_finished)
        return self.status(run_id)

    def start_endless(self) -> tuple[str, RunProcess]:
        run_id = self.launch("endless")
        wait_until(lambda: any("begun" in one.user_message for one in self.events(run_id)))
        process = RunProcess.of_run(self.instance.get_run_by_id(run_id).tags)
        assert process is not None
        return run_id, process

    def events(self, run_id: str) -> list[Any]:
        return list(self.instance.all_logs(run_id))

    def messages(self, run_id: str) -> str:
        return "\n".join(one.message for one in self.events(run_id))

    def materialized(self, run_id: str) -> dict[str, Any]:
        assert self.finish(run_id) == dg.DagsterRunStatus.SUCCESS, self.messages(run_id)
        event = self.instance.get_latest_materialization_event(dg.AssetKey("quick"))
        assert event.run_id == run_id
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "It did not happen in time."
        time.sleep(0.05)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    path = folder / f"{MODULE}.py"
    path.write_text(CODE.format(value=1), "utf-8")
    return path


@pytest.fixture(scope="module")
def launching(new_database: Callable[[], str], code: Path) -> Iterator[Launching]:
    overrides = {
        "storage": {
            "custom": {
                "module": "pipeline_platform.orchestration.pooled_storage",
                "class": "PooledPostgresStorage",
                "config": {"postgres_url": new_database()},
            }
        },
        "run_launcher": {
            "module": "pipeline_platform.orchestration.run_launcher",
            "class": "ForkingRunLauncher",
            "config": {"preload": [MODULE]},
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "DefaultRunCoordinator",
        },
    }
    target = ModuleTarget(MODULE, "defs", str(code.parent), "launched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(code.parent))
        patch.setenv("PYTHONWARNINGS", "ignore")
        with (
            dg.instance_for_test(overrides=overrides) as instance,
            WorkspaceProcessContext(instance, target) as workspace,
        ):
            yield Launching(instance, workspace)


@pytest.fixture
def server_pid(launching: Launching) -> int:
    """The fork server's process id; a run starts it if none lives."""
    return int(launching.materialized(launching.launch("quick"))["parent"])


def test_a_run_is_a_child_of_the_fork_server(launching: Launching, server_pid: int) -> None:
    assert "fork_server" in " ".join(psutil.Process(server_pid).cmdline())


def test_the_next_run_comes_from_the_same_server(launching: Launching, server_pid: int) -> None:
    assert launching.materialized(launching.launch("quick"))["parent"] == server_pid


def test_the_run_names_its_process(launching: Launching) -> None:
    run_id = launching.launch("quick")
    launching.finish(run_id)
    assert PROCESS_TAG in launching.instance.get_run_by_id(run_id).tags


def test_a_failing_run_fails_with_its_reason(launching: Launching) -> None:
    run_id = launching.launch("broken")
    assert launching.finish(run_id) == dg.DagsterRunStatus.FAILURE
    assert "It can't be done." in str(launching.events(run_id))


def test_two_runs_at_once_are_two_processes(launching: Launching) -> None:
    (first, one), (second, other) = launching.start_endless(), launching.start_endless()
    try:
        assert one.pid != other.pid
    finally:
        for run_id in (first, second):
            launching.launcher.terminate(run_id)
            launching.finish(run_id)


def test_a_terminated_run_is_cancelled(launching: Launching) -> None:
    run_id, process = launching.start_endless()
    assert launching.launcher.terminate(run_id)
    assert launching.finish(run_id) == dg.DagsterRunStatus.CANCELED
    wait_until(lambda: not process.is_alive)


def test_another_process_terminates_it_too(launching: Launching) -> None:
    """The UI's server has a launcher of its own, without a fork server."""
    run_id, _ = launching.start_endless()
    with dg.DagsterInstance.from_ref(launching.instance.get_ref()) as other:
        assert other.run_launcher.terminate(run_id)
    assert launching.finish(run_id) == dg.DagsterRunStatus.CANCELED


def test_a_run_that_has_ended_is_not_terminated(launching: Launching) -> None:
    run_id = launching.launch("quick")
    launching.finish(run_id)
    assert not launching.launcher.terminate(run_id)


def test_a_killed_run_is_seen_as_failed(launching: Launching) -> None:
    run_id, process = launching.start_endless()
    os.kill(process.pid, signal.SIGKILL)
    assert launching.finish(run_id) == dg.DagsterRunStatus.FAILURE
    assert "SIGKILL" in launching.messages(run_id)


def test_health_of_a_living_run(launching: Launching) -> None:
    run_id, _ = launching.start_endless()
    run = launching.instance.get_run_by_id(run_id)
    assert launching.launcher.check_run_worker_health(run).status.value == "RUNNING"
    launching.launcher.terminate(run_id)
    launching.finish(run_id)


def test_run_monitoring_finds_a_run_that_died_with_its_server(
    launching: Launching, server_pid: int
) -> None:
    run_id, process = launching.start_endless()
    os.kill(server_pid, signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.is_alive)
    run = launching.instance.get_run_by_id(run_id)
    health = launching.launcher.check_run_worker_health(run)
    launching.instance.report_run_failed(run)
    assert health.status.value == "FAILED"


def test_a_killed_server_leaves_its_run_alone_and_is_replaced(
    launching: Launching, server_pid: int
) -> None:
    run_id, process = launching.start_endless()
    os.kill(server_pid, signal.SIGKILL)
    assert launching.materialized(launching.launch("quick"))["parent"] != server_pid
    assert process.is_alive
    assert launching.launcher.terminate(run_id)
    assert launching.finish(run_id) == dg.DagsterRunStatus.CANCELED


def test_changed_code_is_what_the_next_run_executes(
    launching: Launching, server_pid: int, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.write_text(CODE.format(value=2), "utf-8")
    monkeypatch.setattr(run_launcher, "code_version_on_disk", lambda: "changed")
    found = launching.materialized(launching.launch("quick"))
    assert found["value"] == 2
    assert found["parent"] != server_pid


def test_a_server_that_can_not_start_means_an_ordinary_launch(
    launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launching.launcher
    launcher.dispose()
    monkeypatch.setattr(launcher, "_preload", ["no_such_module"])
    run_id = launching.launch("quick")
    parent = launching.materialized(run_id)["parent"]
    assert "fork_server" not in " ".join(psutil.Process(parent).cmdline())
    assert "starts in a new process instead" in launching.messages(run_id)


def test_without_a_launcher_the_server_ends_after_its_last_run(
    launching: Launching, server_pid: int
) -> None:
    run_id, process = launching.start_endless()
    launching.launcher.dispose()
    time.sleep(0.3)
    assert psutil.pid_exists(server_pid)
    assert process.interrupt()
    launching.finish(run_id)
    wait_until(lambda: not psutil.pid_exists(server_pid) or is_zombie(server_pid))


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_ctrl_c_in_a_terminal_ends_the_run_but_not_the_server(
    launching: Launching, server_pid: int
) -> None:
    run_id, process = launching.start_endless()
    os.kill(server_pid, signal.SIGINT)
    assert process.interrupt()
    assert launching.finish(run_id) == dg.DagsterRunStatus.FAILURE
    assert launching.materialized(launching.launch("quick"))["parent"] == server_pid


def test_what_dagster_yaml_preloads_can_be_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preloaded module that starts a thread would end the server."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    described = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    server = ForkServerProcess(described["run_launcher"]["config"]["preload"])
    try:
        assert server.is_current
        connections = psutil.Process(server.pid).net_connections("inet")
        assert connections == []
    finally:
        server.close()


def test_a_preloaded_module_with_a_thread_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    source = f"import threading, time\n{thread}\n"
    (tmp_path / "threaded.py").write_text(source, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ForkServerError):
        ForkServerProcess(["threaded"])


def test_a_process_id_that_was_given_to_another_process_is_not_the_run() -> None:
    process = RunProcess.current()
    assert process.is_alive
    reused = RunProcess(process.host, process.pid, process.started_ticks - 1)
    assert not reused.is_alive
    assert not reused.interrupt()


def test_code_of_another_python_is_not_forked(launching: Launching) -> None:
    run_id = launching.launch("quick")
    launching.finish(run_id)
    run = launching.instance.get_run_by_id(run_id)
    assert run_launcher.can_fork(run)
    origin = run.job_code_origin.repository_origin._replace(executable_path="/other/python")
    other = run.job_code_origin._replace(repository_origin=origin)
    assert other.executable_path != sys.executable
    assert not run_launcher.can_fork(run._replace(job_code_origin=other))
