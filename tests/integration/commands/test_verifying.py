"""`verify` waits until a pipeline is well; `pipelines execute` queues a run of it by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.commands.verifying import SECONDS_BETWEEN_LOOKS, until_well
from pipeline_platform.orchestration.instance import open_instance
from tests.integration.commands.conftest import Processed, Shell

WRONG = {"what": "a check failed"}


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def waited(looks: Sequence[list[dict[str, str]]], within: timedelta) -> tuple[object, int]:
    """Return what is wrong in the end, and how many looks were taken; the last one is repeated."""
    clock, taken = Clock(), []

    def look() -> list[dict[str, str]]:
        taken.append(looks[min(len(taken), len(looks) - 1)])
        return taken[-1]

    return until_well(look, within, clock=clock, pause=clock.pause), len(taken)


def test_what_becomes_well_in_time_is_well() -> None:
    assert waited([[WRONG], [WRONG], []], timedelta(minutes=1)) == ([], 3)


def test_without_a_time_it_looks_once() -> None:
    assert waited([[WRONG], []], timedelta(0)) == ([WRONG], 1)


def test_what_does_not_become_well_ends_with_the_time() -> None:
    looks = 60 / SECONDS_BETWEEN_LOOKS + 1
    assert waited([[WRONG]], timedelta(minutes=1)) == ([WRONG], looks)


@pytest.fixture(scope="module")
def told(processed: Processed) -> Any:
    return processed.shell.json("verify", "advisory")


def test_what_is_not_well_has_the_command_that_mends_it(told: Any) -> None:
    silent = [one for one in told["not_well"] if "daemon is silent" in one["what"]]
    assert (told["is_well"], [one["command"] for one in silent]) == (
        False,
        ["pipeline-platform daemon"],
    )


def test_what_is_not_well_is_a_found_fault(processed: Processed) -> None:
    assert processed.shell("verify", "advisory").exit_code == 1


def test_what_came_last_into_silver_is_told(processed: Processed, told: Any) -> None:
    (run, *_) = processed.shell.json("runs", "--asset", "advisory_performance/silver/valuations")
    newest = {one["table"].split("/")[-1]: one for one in told["newest"]}
    assert set(newest) == {"valuations", "external_flows", "reported_returns"}
    assert (newest["valuations"]["run"], newest["valuations"]["rows"] > 0) == (run["run"], True)


# --- a run by hand (SP-24) -----------------------------------------------------------------------


def execute(shell: Shell, pipeline: str) -> tuple[Any, dg.DagsterRun]:
    """Queue a run and take it away again: all tests of a session share Dagster's runs."""
    queued = shell.json("pipelines", "execute", pipeline, "--from", "2026-03-03")
    with shell.services() as services, open_instance(services.settings) as instance:
        run = instance.get_run_by_id(queued["run"])
        assert run is not None
        instance.delete_run(run.run_id)
    return queued, run


def test_a_run_is_queued_over_the_partition_of_a_day(shell: Shell) -> None:
    queued, run = execute(shell, "advisory")
    assert (run.job_name, run.status, queued["partitions"]) == (
        "advisory_performance_etl_workflow",
        dg.DagsterRunStatus.QUEUED,
        "2026-03-01 to 2026-03-01",
    )


def test_who_queued_it_is_recorded(shell: Shell) -> None:
    queued, _ = execute(shell, "web")
    with shell.services() as services, services.database.connection() as connection:
        row = connection.execute(
            "SELECT action, target, result, state_after ->> 'run' FROM operator_actions"
        ).fetchone()
    assert row == ("execute", "web_events", "done", queued["run"])


def test_nothing_of_a_stopped_pipeline_is_queued(shell: Shell) -> None:
    shell("pipelines", "stop", "web", "--reason", "test")
    result = shell("pipelines", "execute", "web", "--from", "2026-03-03")
    assert (result.exit_code, "stopped" in result.stderr) == (2, True)


def test_a_day_that_is_to_come_is_wrong_use(shell: Shell) -> None:
    assert shell("pipelines", "execute", "web", "--from", "2999-01-01").exit_code == 2
