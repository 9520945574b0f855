"""`pipeline-platform months process`: bronze to serving, as the sensor would start it."""

from datetime import date
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.advisory_performance.automation import (
    WORKFLOW,
    months_to_process,
    reconcile_job,
)
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.commands.arguments import check_period, parse_month
from pipeline_platform.commands.job_runs import WorkflowEnd, run_job, show_end
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.definitions import build_defs
from pipeline_platform.failures import BadInputError, ConflictError
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.sensors import UNFINISHED
from pipeline_platform.partition_ranges import dates_in, month_range, partition_key
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import control

app = typer.Typer(help="Months of advisory_performance: which wait, and process them.")
EARLIEST = date(1990, 1, 1)
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Also while Dagster thinks that a workflow is running.")
]


@app.command("list")
def list_months(as_json: AsJson = False) -> None:
    """List the months that have new rows and wait to be processed."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            found = connection.execute(
                "SELECT partition_key, requested_at FROM partition_work WHERE pipeline = %s"
                " ORDER BY partition_key",
                (PIPELINE,),
            ).fetchall()
        rows = [{"month": key, "requested (UTC)": requested} for key, requested in found]
        show_rows("Months that wait", rows, as_json=as_json, empty="none.")


@app.command()
def process(
    first: Annotated[
        date | None,
        typer.Option("--from", parser=parse_month, metavar="YYYY-MM", help="First month."),
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", parser=parse_month, metavar="YYYY-MM", help="Last month."),
    ] = None,
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Process the months that wait, or the given ones, from bronze to performance_data.

    Returns of later months link from earlier ones: months after --to are left requested.
    """
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        span = request_range(opened, first, last) if first or last else _waiting(opened)
        if span is None:
            show_rows("Months", [], as_json=as_json, empty="none has new rows.")
            return
        ended = run_workflow(opened, *span, anyway=anyway)
        show_end(ended, as_json=as_json)
    raise typer.Exit(0 if ended.is_fine else FOUND_FAULTS)


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
    """Rule anew under changed tolerances, without loading or computing returns (SA-63)."""
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        check_period(first, last)
        ended = run_workflow(opened, first, last, anyway=anyway, job=reconcile_job.name)
        show_end(ended, as_json=as_json)
    raise typer.Exit(0 if ended.is_fine else FOUND_FAULTS)


def request_range(opened: Services, first: date | None, last: date | None) -> tuple[date, date]:
    """Request what must be computed with a range of months, and return the range itself."""
    present = dates_in(opened.lake.partitions(VENDOR_ROWS))
    if not present:
        raise BadInputError("Bronze holds no month yet; `landing ingest` brings files there.")
    start, end = first or min(present), last or max(present)
    check_period(start, end)
    if start < EARLIEST or end > utc_now().date():
        raise BadInputError(
            f"Months go from {EARLIEST:%Y-%m} to {utc_now():%Y-%m}, not from {start:%Y-%m} to "
            f"{end:%Y-%m}."
        )
    touched = month_range(start, max(end, *present))
    with opened.database.transaction() as connection:
        control.request_partitions(connection, PIPELINE, map(partition_key, touched), utc_now())
    return start, end


def run_workflow(
    opened: Services, first: date, last: date, *, anyway: bool, job: str = WORKFLOW
) -> WorkflowEnd:
    """Run the workflow over a range in this process and say how it ended.

    Raises ConflictError while another run of it is unfinished.
    """
    errors.print(f"[bold]·[/bold] {first:%Y-%m} to {last:%Y-%m}: bronze to serving")
    instance = open_instance(opened.settings)
    if not anyway:
        refuse_second_run(instance)
    definitions = build_defs(opened.settings, {"services": opened})
    return run_job(instance, definitions.resolve_job_def(job), PIPELINE, first, last)


def _waiting(opened: Services) -> tuple[date, date] | None:
    work = months_to_process(opened)
    return None if work is None else work[1:]


def refuse_second_run(instance: dg.DagsterInstance) -> None:
    """Raise ConflictError if the workflow is running: two would compute the same months."""
    active = dg.RunsFilter(job_name=WORKFLOW, statuses=UNFINISHED)
    running = instance.get_runs(active, limit=1)
    if running:
        raise ConflictError(
            f"The workflow is running (run {running[0].run_id}); wait for its end, or use "
            "--anyway if its process is dead."
        )
