"""`pipeline-platform partitions`: what waits for the workflow; run it, as the sensor would."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.advisory_performance.automation import reconcile_job
from pipeline_platform.commands.arguments import (
    check_period,
    parse_day,
    parse_month,
    pipeline_named,
    pipeline_names,
)
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.job_runs import WorkflowEnd, run_job, show_end, together
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.pipelines import ADVISORY
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.definitions import build_defs
from pipeline_platform.failures import BadInputError, ConflictError
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.registration import Registration, registration_of
from pipeline_platform.orchestration.sensors import UNFINISHED, RequestedRange
from pipeline_platform.partition_ranges import date_range, dates_in, partition_key
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.stops import require_running

app = typer.Typer(help="Months and days: which wait, and process them.")
EARLIEST = date(1990, 1, 1)
OnePipeline = Annotated[
    str | None, typer.Option("--pipeline", help="Its name or the beginning of it; else all.")
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Also while Dagster thinks that a workflow is running.")
]
First = Annotated[
    str | None,
    typer.Option("--from", metavar="YYYY-MM[-DD]", help="First month or day of the pipeline."),
]
Last = Annotated[
    str | None,
    typer.Option("--to", metavar="YYYY-MM[-DD]", help="Last month or day of the pipeline."),
]


@app.command("list")
def list_partitions(pipeline: OnePipeline = None, as_json: AsJson = False) -> None:
    """List the months and days that have new rows and wait to be processed."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = connection.execute(
                "SELECT pipeline, partition_key, requested_at FROM partition_work"
                " WHERE pipeline = ANY(%s) ORDER BY pipeline, partition_key",
                (_pipelines(pipeline),),
            ).fetchall()
        rows = [
            {"pipeline": name, "partition": key, "requested (UTC)": requested}
            for name, key, requested in found
        ]
        show_rows("Partitions that wait", rows, as_json=as_json, empty="none.")


@app.command()
def process(
    pipeline: OnePipeline = None,
    first: First = None,
    last: Last = None,
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Process what waits, or the given months or days of a pipeline, up to its last layer.

    Returns of later months link from earlier ones: months after --to are left requested. Days
    that other days' events make wrong are processed too. Stops at a run that fails.
    """
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        names = _pipelines(pipeline)
        with acting(opened, "process", " ".join(names)) as action:
            if first or last:
                if pipeline is None:
                    raise BadInputError("Say whose months or days these are, with --pipeline.")
                span = request_range(opened, names[0], first, last)
                ended = [run_workflow(opened, names[0], *span, anyway=anyway)]
            else:
                ended = [
                    one for name in names for one in process_waiting(opened, name, anyway=anyway)
                ]
            action.state_after = {"runs": [one.run_id for one in ended]}
        if not ended:
            show_rows("Partitions", [], as_json=as_json, empty="none has new rows.")
            return
        end = together(ended)
        show_end(end, as_json=as_json)
    raise typer.Exit(0 if end.is_fine else FOUND_FAULTS)


@app.command()
def reconcile(
    first: Annotated[
        date, typer.Option("--from", parser=parse_month, metavar="YYYY-MM", help="First month.")
    ],
    last: Annotated[
        date, typer.Option("--to", parser=parse_month, metavar="YYYY-MM", help="Last month.")
    ],
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Rule anew on advisory_performance under changed tolerances, without loading (SA-63)."""
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        check_period(first, last)
        with acting(opened, "reconcile", f"{ADVISORY} {first:%Y-%m} to {last:%Y-%m}") as action:
            ended = run_workflow(
                opened, ADVISORY, first, last, anyway=anyway, job=reconcile_job.name
            )
            action.state_after = {"runs": [ended.run_id]}
        show_end(ended, as_json=as_json)
    raise typer.Exit(0 if ended.is_fine else FOUND_FAULTS)


def process_waiting(opened: Services, pipeline: str, *, anyway: bool) -> Iterator[WorkflowEnd]:
    """Run the workflow over all that waits, until nothing does or a run fails.

    A run may request partitions anew that it found to be wrong.
    """
    done: set[str] = set()
    while waiting := _not_in(done, registration_of(pipeline).requested(opened)):
        for one in waiting:
            done.add(one.name)
            ended = run_workflow(opened, pipeline, one.first, one.last, anyway=anyway)
            yield ended
            if not ended.is_done:
                return


def request_range(
    opened: Services, pipeline: str, first: str | None, last: str | None
) -> tuple[date, date]:
    """Request what must be computed with a range of partitions, and return the range itself."""
    work = registration_of(pipeline)
    present = dates_in(opened.lake.partitions(work.bronze))
    if not present:
        raise BadInputError(
            f"Bronze holds no {work.unit} yet; `landing ingest --pipeline {pipeline}` brings "
            "files there."
        )
    start = _partition(work, first) if first else min(present)
    end = _partition(work, last) if last else max(present)
    check_period(start, end)
    if start < EARLIEST or end > utc_now().date():
        raise BadInputError(
            f"A {work.unit} lies between {EARLIEST} and {utc_now():%Y-%m-%d}; {start} to {end} "
            "does not."
        )
    touched = date_range(work.unit, start, max(end, *present) if work.is_linked else end)
    with opened.database.transaction() as connection:
        control.request_partitions(connection, pipeline, map(partition_key, touched), utc_now())
    return start, end


def run_workflow(
    opened: Services, pipeline: str, first: date, last: date, *, anyway: bool, job: str = ""
) -> WorkflowEnd:
    """Run a pipeline's workflow, or another job, over a range here and say how it ended.

    Raises ConflictError while another run of the workflow is unfinished, StoppedError while the
    pipeline is stopped.
    """
    require_running(opened.database, pipeline)
    workflow = registration_of(pipeline).workflow
    errors.print(f"[bold]·[/bold] {pipeline}: {first} to {last}")
    instance = open_instance(opened.settings)
    if not anyway:
        refuse_second_run(instance, workflow)
    definitions = build_defs(opened.settings, {"services": opened})
    return run_job(instance, definitions.resolve_job_def(job or workflow), pipeline, first, last)


def refuse_second_run(instance: dg.DagsterInstance, workflow: str) -> None:
    """Raise ConflictError if the workflow is running: two would compute the same partitions."""
    active = dg.RunsFilter(job_name=workflow, statuses=UNFINISHED)
    running = instance.get_runs(active, limit=1)
    if running:
        raise ConflictError(
            f"The workflow is running (run {running[0].run_id}); wait for its end, or use "
            "--anyway if its process is dead."
        )


def _pipelines(name: str | None) -> list[str]:
    return pipeline_names() if name is None else [pipeline_named(name)]


def _partition(work: Registration, text: str) -> date:
    return parse_month(text) if work.unit == "month" else parse_day(text)


def _not_in(done: set[str], ranges: Sequence[RequestedRange]) -> list[RequestedRange]:
    return [one for one in ranges if one.name not in done]
