"""`pipeline-platform rerun` and `watch`: failed work started again, and seen to its end."""

import time
from datetime import timedelta
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.errors import OfPipeline, Since
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, console, errors
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.commands.run_details import run_id_of
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.orchestration.history import covered_partitions, pipelines
from pipeline_platform.orchestration.launching import Workflows
from pipeline_platform.orchestration.pipeline_runs import ENDED, PipelineRuns
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

A_DAY = timedelta(days=1)
SECONDS_BETWEEN_LOOKS = 1.0


def rerun(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One run: its id, or its beginning.")
    ] = None,
    is_failed: Annotated[
        bool, typer.Option("--failed", help="All failures that nothing made good since.")
    ] = False,
    since: Since = None,
    pipeline: OfPipeline = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start failed runs again from the steps that failed (SA-66, SW-18).

    They are queued for Dagster's daemon, with the same partitions and configuration. `--failed`
    takes those of the last day, or `--since`. `watch RUN` follows one.
    """
    if (run is None) != is_failed:
        raise typer.BadParameter("Give either a RUN or --failed.")
    with code_location() as location:
        if run is not None:
            wanted = [run_id_of(location, run)]
        else:
            begin = since or utc_now() - A_DAY
            names = pipelines(location.graph) if pipeline is None else [location.pipeline(pipeline)]
            wanted = [
                run_id
                for name in names
                for run_id in PipelineRuns(location.instance, name, begin).unmended()
            ]
        rows = [_started(location, run_id, dry_run=dry_run) for run_id in wanted]
        show_rows(
            "Would be started again" if dry_run else "Started again",
            rows,
            as_json=as_json,
            empty="nothing failed that was not made good.",
        )


def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the beginning of it.")],
) -> None:
    """Follow a run to its end, step by step (SW-18); exit code 1 if it does not succeed."""
    with code_location() as location:
        run_id = run_id_of(location, run)
        if not location.instance.has_run(run_id):
            raise NotFoundError(f"{run_id} was made by a command; there is nothing to follow.")
        seen: set[str] = set()
        while True:
            found = location.instance.get_run_by_id(run_id)
            for step in location.instance.get_run_step_stats(run_id):
                told = f"{step.step_key}: {step.status.value.lower() if step.status else 'waiting'}"
                if told not in seen:
                    seen.add(told)
                    console.print(told, markup=False)
            if found is None or found.status in ENDED:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        status = found.status if found is not None else None
        console.print(f"{run_id}: {status.value if status else 'gone'}", markup=False)
    if status != dg.DagsterRunStatus.SUCCESS:
        errors.print(f"`pipeline-platform run show {run_id[:8]}` says why.", markup=False)
        raise typer.Exit(FOUND_FAULTS)


def _started(location: CodeLocation, run_id: str, *, dry_run: bool) -> dict[str, object]:
    failed = location.instance.get_run_by_id(run_id)
    if failed is None:
        raise BadInputError(f"{run_id} was made by a command; run that command again.")
    again = None
    if not dry_run:
        actor = command_line_actor()
        with audited(location.services.database, Action(actor, "rerun", run_id)):
            workflows = Workflows(location.definitions, location.instance)
            again = workflows.start_again(failed, actor=actor)
    return {
        "failed run": run_id,
        "job": failed.job_name,
        "partitions": covered_partitions(failed),
        "new run": again,
    }
