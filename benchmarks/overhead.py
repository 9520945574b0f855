"""What Dagster, dbt and imports cost: loading the code location, and one partition's run.

    python -m benchmarks.overhead [--rounds 3] [--small]

Bars (design, section 6): the code location loads in under 5 s; a partition's run spends under
3 s outside our own work, dbt's start included.

*Load* is a fresh process that imports `pipeline_platform.definitions` and resolves the asset
graph and every job, from its start until that is done; and the whole of `dagster definitions
validate`, as CI runs it. The slower of the two counts.

*Run* is one month of the workflow as it is launched: requested through GraphQL, launched by the
launcher of dagster.yaml, executed in a process forked from the fork server. The wall time from
the request to the event that ends the run is divided into accounts that don't overlap
(`benchmarks.spans`, `benchmarks.run_accounts`). **Own work** is time inside the functions that
read, compute, audit, stage, publish and load: those of refinement, measurement, serving and the
checks' measures, and the stretches in which dbt builds or tests a model; less what they wait for
in imports, connections, Great Expectations' import and dbt's start. Everything else is outside
our own work and counts against the bar. The time in the daemon's queue is not part of it: there
is none here. A first run starts the fork server and fills caches (dbt's parsed project); the
median of the following rounds counts. Every round processes the same month again with the same
content. What a process does after the run's last event delays nobody: it is shown and not
counted.

The same run in a fresh process, without a launcher, is shown for context.

Processor seconds stand beside wall seconds, because on a busy machine only they mean much.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.bulk_delivery import write_delivery
from benchmarks.run_accounts import DAGSTER, END, OWN_WORK, account_for_work, accounts_file
from benchmarks.sandbox import ROOT, Finished, environment, platform_home, run, run_module
from benchmarks.spans import Spans

LOAD_BAR_SECONDS = 5.0
RUN_BAR_SECONDS = 3.0
REQUEST = "request: create the run, announce it"
LAUNCH = "launch and fork"
HELPERS = "processes that copy the run's output"
REPORT = "(reading back the events for this report)"
ACCOUNTS = 20
BUSINESS_DAYS = 15
MODULE = "benchmarks.overhead"
CHILDREN = ("load", "prepare", "launch", "run")
_LAUNCH = """
mutation ($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


def load(began: float) -> dict[str, dict[str, float]]:
    """Import the code location and resolve all of it."""
    spans = Spans("process start", began)
    spans.then("import dagster")
    import dagster  # noqa: F401

    spans.then("import pipeline_platform")
    from pipeline_platform.definitions import defs

    spans.then("resolve graph and jobs")
    defs.resolve_asset_graph()
    defs.resolve_all_job_defs()
    return spans.finish()


def prepare(folder: Path) -> None:
    """Deliver one small month of the standard vendor and take it to bronze."""
    from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
    from pipeline_platform.advisory_performance.run_context import RunContext
    from pipeline_platform.advisory_performance.tables import PIPELINE
    from pipeline_platform.services import Services

    path = folder / "standard_overhead.csv"
    write_delivery(path, accounts=ACCOUNTS, first=last_month(), days=BUSINESS_DAYS)
    from pipeline_platform.settings import Settings

    with Services(Settings.from_env()) as services:
        services.landing(PIPELINE).put(path.name, path)
        outcomes = list(ingest_arrivals(RunContext(services, "overhead-bronze")))
    if [one.status for one in outcomes] != ["published"]:
        raise SystemExit(f"The benchmark's file was not published: {outcomes}")


def last_month() -> date:
    """Return the first day of the month before this one (UTC)."""
    return (datetime.now(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=1)


def execute(began: float, month: date) -> dict[str, object]:
    """Execute the workflow's job for one month in a process of its own; account for the time."""
    spans = Spans("process start", began)
    spans.then("import dagster")
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.execution.plan.objects import StepSuccessData

    spans.then("load code location")
    from pipeline_platform.advisory_performance.automation import WORKFLOW
    from pipeline_platform.orchestration.automation import range_tags
    from pipeline_platform.orchestration.instance import open_instance
    from pipeline_platform.settings import Settings

    repository = ReconstructableRepository.for_module(
        "pipeline_platform.definitions", "defs", working_directory=str(Path.cwd())
    )
    job = repository.get_reconstructable_job(WORKFLOW)
    job.get_definition()
    spans.then("open instance")
    instance = open_instance(Settings.from_env())
    account_for_work(spans)
    spans.then(DAGSTER)
    result = dg.execute_job(job, instance=instance, tags=range_tags(month, month))
    spans.then(REPORT)
    if not result.success:
        raise SystemExit(f"The run failed; see run {result.run_id}.")
    steps = {
        str(event.step_key): event.event_specific_data.duration_ms / 1000
        for event in result.all_events
        if isinstance(event.event_specific_data, StepSuccessData)
    }
    return {**spans.finish(), "steps": steps, "events": len(result.all_events)}


def launch(home: Path, rounds: int) -> dict[str, object]:
    """Launch the workflow for one month through GraphQL and the instance's launcher, often.

    This process stands for the daemon and the UI's server. One round's answer: wall and processor
    seconds by account, from the request to the event that ends the run.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    from pipeline_platform.orchestration.instance import instance_environment
    from pipeline_platform.settings import Settings

    os.environ.update(instance_environment(Settings.from_env()))
    os.environ["DAGSTER_HOME"] = str(_home_with_accounts(home))
    import dagster as dg

    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget(["workspace.yaml"])) as workspace,
    ):
        return {"runs": [_launch_once(workspace, home) for _ in range(rounds + 1)][1:]}


def _home_with_accounts(home: Path) -> Path:
    """Make a folder with our dagster.yaml, whose forked runs also account for their time."""
    import yaml

    described = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    described["run_launcher"]["config"]["preload"].append("benchmarks.accounted_fork")
    folder = home / "dagster-home"
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(described), "utf-8")
    return folder


def _launch_once(workspace: Any, home: Path) -> dict[str, Any]:
    """Request one run, launch it as the daemon does when its turn has come, and wait for it."""
    import psutil
    from dagster_graphql.cli import execute_query

    from pipeline_platform.advisory_performance.automation import WORKFLOW
    from pipeline_platform.orchestration.automation import range_tags

    instance = workspace.instance
    tags = range_tags(last_month(), last_month())
    parameters = {
        "selector": {
            "repositoryLocationName": "pipeline_platform",
            "repositoryName": "__repository__",
            "jobName": WORKFLOW,
        },
        "runConfigData": {},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": key, "value": tags[key]} for key in tags]},
    }

    def spent() -> dict[int, float]:
        """Processor seconds of this process and of each that it has started and that lives."""
        us, seconds = psutil.Process(), {}
        for one in [us, *us.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                seconds[one.pid] = times.user + times.system
        return seconds

    def between(before: dict[int, float], after: dict[int, float]) -> float:
        """Processor seconds spent meanwhile by what lives still."""
        return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())

    requested_at, clock, cpu = time.time(), time.perf_counter(), spent()
    answer = execute_query(workspace, _LAUNCH, {"parameters": parameters})
    launched = answer["data"]["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        raise SystemExit(f"The run was not accepted: {launched}")
    run_id = launched["run"]["runId"]
    created, cpu_created = time.perf_counter(), spent()
    instance.launch_run(run_id, workspace.create_request_context())
    cpu_launched = spent()
    path = accounts_file(home, run_id)
    while not path.exists():
        time.sleep(0.05)
        if instance.get_run_by_id(run_id).status.value in ("FAILURE", "CANCELED"):
            raise SystemExit(f"The run {run_id} failed.")
    in_run = json.loads(path.read_text("utf-8"))
    record = instance.get_run_record_by_id(run_id)
    whole = record.end_time - requested_at
    wall, processor = in_run["accounts"], in_run["cpu"]
    after_end = wall.pop(END, 0.0)
    wall = {REQUEST: created - clock, LAUNCH: 0.0, **wall, HELPERS: 0.0}
    wall[LAUNCH] = whole - sum(wall.values())
    processor |= {
        REQUEST: between(cpu, cpu_created),
        LAUNCH: between(cpu_created, cpu_launched),
        HELPERS: in_run["helpers"],
    }
    cpu_seconds = sum(processor.values())
    processor.pop(END, 0.0)
    answer = {"accounts": wall, "cpu": processor}
    return {"wall_seconds": whole + after_end, "cpu_seconds": cpu_seconds, "answer": answer}


def _child(what: str, variables: dict[str, str], *arguments: str) -> Finished:
    began = str(time.perf_counter())
    return run_module(MODULE, ["--child", what, "--began", began, *arguments], variables)


def _accounts(finished: Finished) -> dict[str, tuple[float, float]]:
    """Return wall and processor seconds by account, with what the process took to end."""
    wall, cpu = finished.answer["accounts"], finished.answer["cpu"]
    accounts = {name: (wall[name], cpu[name]) for name in wall}
    rest = finished.wall_seconds - sum(wall.values()), finished.cpu_seconds - sum(cpu.values())
    return {**accounts, END: rest}


def seconds_outside(finished: Finished) -> tuple[float, float]:
    """Return wall and processor seconds of a load or a run that were not our own work."""
    spent = _accounts(finished)
    counted = [spent[name] for name in spent if name not in {OWN_WORK, REPORT, END}]
    return sum(wall for wall, _ in counted), sum(cpu for _, cpu in counted)


def measure_load(variables: dict[str, str], rounds: int) -> list[Finished]:
    """Load the code location in fresh processes; the first, which fills caches, is left out."""
    return [_child("load", variables) for _ in range(rounds + 1)][1:]


def measure_launched(variables: dict[str, str], rounds: int) -> list[Finished]:
    """Launch runs from one process; the first, which starts the fork server, is left out."""
    return [
        Finished(**one)
        for one in _child("launch", variables, "--rounds", str(rounds)).answer["runs"]
    ]


def measure_validate(variables: dict[str, str], rounds: int) -> list[Finished]:
    """Validate the definitions with Dagster's own command, on an instance without a server."""
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate"]
    command += ["-w", "workspace.yaml"]
    with tempfile.TemporaryDirectory(prefix="benchmark-dagster-") as home:
        own_instance = {**variables, "DAGSTER_HOME": home}
        return [run(command, own_instance, is_json=False) for _ in range(rounds)]


def show(title: str, finished: list[Finished]) -> None:
    """Print the medians of the accounts and of the whole."""
    print(f"\n{title} (median of {len(finished)})")
    print(f"  {'':<42}{'wall s':>8}{'best':>8}{'CPU s':>8}")
    rows = [_accounts(one) if "accounts" in one.answer else {} for one in finished]
    for row, one in zip(rows, finished, strict=True):
        row["all"] = (one.wall_seconds, one.cpu_seconds)
    for name in dict.fromkeys(name for row in rows for name in row):
        walls, cpu = zip(*(row.get(name, (0.0, 0.0)) for row in rows), strict=True)
        print(
            f"  {name:<42}{statistics.median(walls):8.2f}{min(walls):8.2f}"
            f"{statistics.median(cpu):8.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="one round")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        return _as_child(given.child, given.began, given.rounds)
    rounds = 1 if given.small else given.rounds
    with platform_home() as settings:
        variables = environment(settings)
        loads = measure_load(variables, rounds)
        validations = measure_validate(variables, rounds)
        _child("prepare", variables)
        launched = measure_launched(variables, rounds)
        fresh = [_child("run", variables) for _ in range(2)][1:]
    show("Load of the code location", loads)
    show("dagster definitions validate", validations)
    show("A run of one month, launched: from its request to its last event", launched)
    show("For context: the same in a process that starts for it, without a launcher", fresh)
    steps = fresh[-1].answer["steps"]
    print(f"  {fresh[-1].answer['events']} events; steps by Dagster's own clock:")
    for name, taken in steps.items():
        print(f"    {name:<40}{taken:8.2f}")
    load_seconds = max(
        statistics.median(seconds_outside(one)[0] for one in loads),
        statistics.median(one.wall_seconds for one in validations),
    )
    outside = [seconds_outside(one) for one in launched]
    run_seconds = statistics.median(wall for wall, _ in outside)
    run_cpu = statistics.median(cpu for _, cpu in outside)
    fresh_seconds = seconds_outside(fresh[0])[0]
    is_met = [load_seconds < LOAD_BAR_SECONDS, run_seconds < RUN_BAR_SECONDS]
    words = ["met" if one else "MISSED" for one in is_met]
    print(f"\nBar, load: {load_seconds:.2f} s, under {LOAD_BAR_SECONDS:g} s: {words[0]}.")
    print(
        f"Bar, run outside our own work: {run_seconds:.2f} s (best {min(outside)[0]:.2f} s, "
        f"processor {run_cpu:.2f} s; fresh process {fresh_seconds:.2f} s), "
        f"under {RUN_BAR_SECONDS:g} s: {words[1]}."
    )
    return 0 if all(is_met) else 1


def _as_child(what: str, began: float, rounds: int) -> int:
    # What servers and runs print must not get between the lines of the answer.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if what == "load":
        answer: dict[str, object] = {**load(began)}
    elif what == "prepare":
        prepare(Path(os.environ["PLATFORM_HOME"]))
        answer = {}
    elif what == "launch":
        answer = launch(Path(os.environ["PLATFORM_HOME"]), rounds)
    else:
        answer = {**execute(began, last_month())}
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
