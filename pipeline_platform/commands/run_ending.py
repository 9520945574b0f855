"""`pipeline-platform run end`: a run that does not end by itself, ended for good."""

from typing import Annotated

import typer

from pipeline_platform.commands.code_location import code_location
from pipeline_platform.commands.output import AsJson
from pipeline_platform.commands.printing import show_facts
from pipeline_platform.commands.run_details import run_id_of
from pipeline_platform.failures import BadInputError
from pipeline_platform.orchestration.run_processes import RunProcess
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

SECONDS_TO_END = 10


def end(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the beginning of it.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the run.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a run that is stuck, and its process: what it published stays, the rest is not done.

    Its process is asked to end and gets ten seconds; then it is killed, which every writer
    survives. Files and partitions that it had in work are taken up by the next run.
    """
    with code_location() as location:
        instance = location.instance
        found = instance.get_run_by_id(run_id_of(location, run))
        if found is None or found.is_finished:
            raise BadInputError(f"The run {run} has ended already; `runs` lists those at work.")
        process = RunProcess.of_run(found.tags)
        if process is not None and not process.is_here:
            raise BadInputError(
                f"The run's process is on the machine {process.host}; run the command there, or "
                "terminate the run by force in the UI if that machine is gone."
            )
        is_alive = process is not None and process.is_alive
        facts: dict[str, object] = {
            "run": found.run_id,
            "job": found.job_name,
            "status": found.status.value,
            "process": None if process is None else process.pid,
            "it lives": is_alive,
        }
        if not dry_run:
            action = Action(command_line_actor(), "end run", found.run_id, None, reason)
            with audited(location.services.database, action):
                if process is not None and is_alive:
                    instance.report_run_canceling(found)
                    process.end(SECONDS_TO_END)
                left = instance.get_run_by_id(found.run_id)
                if left is not None and not left.is_finished:
                    instance.report_run_canceled(left, f"It was ended by a command: {reason}")
        show_facts("Would be ended" if dry_run else "Ended", facts, as_json=as_json)
