"""Ended runs as records: stages, errors, and counters that nothing sets back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.failures import FAILURE_TAG, handled_failures
from pipeline_platform.orchestration.pipeline_runs import PipelineRuns, work_tags
from pipeline_platform.orchestration.run_records import RunRecorder
from pipeline_platform.quality.measures import Scope, task_latency
from pipeline_platform.run_context import RunContext
from pipeline_platform.services import Services
from pipeline_platform.warehouse import run_records
from pipeline_platform.warehouse.run_records import EndedRun, Task, stage_milliseconds

PIPELINE = "weather"


def asset(layer: str, *deps: str, fails: bool = False) -> dg.AssetsDefinition:
    @dg.asset(key=[PIPELINE, layer, "hours"], deps=[[PIPELINE, one, "hours"] for one in deps])
    def made(context: dg.AssetExecutionContext) -> None:
        with handled_failures(context):
            if fails:
                raise BadInputError("Line 3 of hours.csv has no hour.")

    return made


def recorder(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition) -> RunRecorder:
    job = dg.define_asset_job(f"{PIPELINE}_all", "*")
    definitions = dg.Definitions(assets, jobs=[job], executor=dg.in_process_executor)
    jobs = list(definitions.resolve_all_job_defs())
    return RunRecorder(definitions.resolve_asset_graph(), jobs, instance)


def run(found: RunRecorder) -> str:
    (job,) = [one for one in found.jobs if one.name == f"{PIPELINE}_all"]
    result = job.execute_in_process(instance=found.instance, raise_on_error=False)
    return result.run_id


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def services(settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


def totals(services: Services) -> dict[tuple[str, str], int]:
    with services.database.connection() as connection:
        rows = run_records.task_totals(connection)
    return {(row["pipeline_id"], row["status"]): row["task_count"] for row in rows}


def test_the_time_of_most_steps_is_measured_from_the_last_days_runs(services) -> None:
    """SP-8: of a hundred steps five took longer, and those of the day before do not count."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    times = {"run-now": [*range(1, 96), *[900] * 5], "run-before": [5000] * 50}
    with services.database.transaction() as connection:
        for run_id, seconds in times.items():
            ended_at = now - timedelta(hours=1 if run_id == "run-now" else 25)
            tasks = [Task(f"step_{n}", True, float(one)) for n, one in enumerate(seconds)]
            made = EndedRun(run_id, PIPELINE, "all", "SUCCESS", ended_at, ended_at, ended_at, tasks)
            run_records.record_run(connection, made)
    runbook = runbooks()["web_events"].model_copy(update={"pipeline": PIPELINE})
    run_now = RunContext(services, "check", clock=lambda: now, runbook=runbook)
    (found,) = task_latency(Scope(run_now, ())).values()
    assert (found.value, found.sample_size, found.offenders[0]) == (95, 100, "step_97 900 s")


def test_each_layer_is_a_stage(instance) -> None:
    found = recorder(instance, asset("bronze"), asset("silver", "bronze"), asset("serving"))
    tasks = found.detail(PIPELINE, run(found)).tasks
    assert {task.stage for task in tasks} == {"extraction", "transformation", "loading"}


def test_stages_add_up_and_one_without_a_step_is_none() -> None:
    tasks = [Task("a", True, 1.5, "extraction"), Task("b", False, 0.25, "extraction")]
    assert stage_milliseconds(tasks) == {
        "extraction": 1750,
        "transformation": None,
        "loading": None,
    }


def test_a_failed_run_says_why_and_of_which_class(instance) -> None:
    found = recorder(instance, asset("bronze", fails=True))
    (error,) = found.detail(PIPELINE, run(found)).errors
    assert (error.failure_class, error.message) == (
        "BadInputError",
        "Line 3 of hours.csv has no hour.",
    )


def test_recording_keeps_the_kind_of_a_failure_that_no_step_told(instance, services) -> None:
    @dg.asset(key=[PIPELINE, "bronze", "hours"])
    def broken() -> None:
        raise KeyError("nobody thought of it")

    found = recorder(instance, broken)
    run_id = run(found)
    found.record_ended(services)
    assert instance.get_run_by_id(run_id).tags[FAILURE_TAG] == "defect"


def test_a_run_of_another_pipeline_is_not_found(instance) -> None:
    found = recorder(instance, asset("bronze"))
    with pytest.raises(NotFoundError):
        found.detail("traffic", run(found))


def test_each_run_is_counted_once(instance, services) -> None:
    found = recorder(instance, asset("bronze"), asset("silver", "bronze", fails=True))
    run(found)
    assert [found.record_ended(services), found.record_ended(services)] == [1, 0]
    assert totals(services) == {(PIPELINE, "success"): 1, (PIPELINE, "failure"): 1}
    run(found)
    found.record_ended(services)
    assert totals(services) == {(PIPELINE, "success"): 2, (PIPELINE, "failure"): 2}


def test_a_step_keeps_the_memory_that_it_held_at_most(instance, services) -> None:
    @dg.asset(key=[PIPELINE, "silver", "hours"])
    def large(context: dg.AssetExecutionContext) -> None:
        with handled_failures(context):
            held = bytearray(300_000_000)
        del held

    found = recorder(instance, asset("bronze"), large)
    run(found)
    found.record_ended(services)
    with services.database.connection() as connection:
        small, most = (row["peak_memory_bytes"] for row in run_records.latest_tasks(connection))
    assert 290_000_000 < most - small < 400_000_000


def test_removing_old_records_sets_no_counter_back(instance, services) -> None:
    found = recorder(instance, asset("bronze"))
    run_id = run(found)
    found.record_ended(services)
    with services.database.transaction() as connection:
        connection.execute("DELETE FROM pipeline_runs")
    instance.delete_run(run_id)
    found.record_ended(services)
    assert totals(services) == {(PIPELINE, "success"): 1}


@dg.op
def look() -> None:
    """Look at something, as a check does."""


@dg.job(name=f"{PIPELINE}_health")
def health() -> None:
    look()


def test_the_rate_is_of_the_runs_that_the_threshold_counts(instance, services) -> None:
    """X-1: successes of checks hide no failure of work, here as there."""
    work = dg.define_asset_job(f"{PIPELINE}_all", "*", tags=work_tags(PIPELINE))
    definitions = dg.Definitions(
        [asset("bronze", fails=True)], jobs=[work, health], executor=dg.in_process_executor
    )
    jobs = list(definitions.resolve_all_job_defs())
    found = RunRecorder(definitions.resolve_asset_graph(), jobs, instance)
    for job in (f"{PIPELINE}_all", f"{PIPELINE}_health", f"{PIPELINE}_health"):
        definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
    found.record_ended(services)
    since = datetime.now(UTC) - timedelta(days=1)
    with services.database.connection() as connection:
        rates = run_records.success_rates(connection, since)
    counted = [one for _, one in PipelineRuns(instance, PIPELINE, since).ended()]
    assert rates == [{"pipeline_id": PIPELINE, "success_pct": 100 * sum(counted) / len(counted)}]
    assert counted == [False]
