"""`pipeline-platform marts`: build gold tables of a pipeline; the runbook's `dbt run --models`."""

from datetime import UTC, date, datetime, time
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.arguments import check_period, parse_day, pipeline_named
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.job_runs import WorkflowEnd, run_job, show_end
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.definitions import build_defs
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.services import Services

app = typer.Typer(help="Marts: gold tables that dbt builds from silver.")
KIND = "dbt"


@app.callback()
def _marts() -> None:
    """Keep `build` a command of its own, although it is the only one."""


@app.command()
def build(
    pipeline: Annotated[str, typer.Argument(help="A pipeline, such as web_events.")],
    first: Annotated[
        date, typer.Option("--from", parser=parse_day, metavar="YYYY-MM-DD", help="First day.")
    ],
    last: Annotated[
        date, typer.Option("--to", parser=parse_day, metavar="YYYY-MM-DD", help="Last day.")
    ],
    marts: Annotated[
        list[str] | None, typer.Argument(help="Marts, such as daily_summary; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build marts over days: dbt builds and tests, then all are published or none.

    Many days are built in pieces that fit into the memory limit, one after another.

    What the runbook calls `dbt run --models marts.analytics.daily_summary` (SW-10) and
    `reports.weekly_performance_summary` (SW-38).
    """
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        check_period(first, last)
        name = pipeline_named(pipeline)
        with acting(opened, "build marts", f"{name} {first} to {last}") as action:
            ended = build_marts_of(opened, name, marts or [], first, last)
            action.state_after = {"runs": [ended.run_id]}
        show_end(ended, as_json=as_json)
    raise typer.Exit(0 if ended.is_fine else FOUND_FAULTS)


def build_marts_of(
    opened: Services, pipeline: str, marts: list[str], first: date, last: date
) -> WorkflowEnd:
    """Materialise marts over the partitions of a range of days; no name means all of them.

    Raises NotFoundError for a mart that the pipeline does not have.
    """
    definitions = build_defs(opened.settings, {"services": opened})
    graph = definitions.resolve_asset_graph()
    known = {
        key.path[-1]: key
        for key in graph.get_all_asset_keys()
        if key.path[0] == pipeline and KIND in graph.get(key).kinds
    }
    unknown = [name for name in marts if name not in known]
    if unknown or not known:
        raise NotFoundError(
            f"{pipeline} has no mart {unknown[0] if unknown else ''}; choose from "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    chosen = {known[name] for name in marts or known}
    partitions = graph.get(next(iter(chosen))).partitions_def
    start, end = _partitions_within(partitions, first, last)
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=chosen)
    return run_job(open_instance(opened.settings), job, pipeline, start, end)


def _partitions_within(
    partitions: dg.PartitionsDefinition | None, first: date, last: date
) -> tuple[date, date]:
    """Return the first and the last partition that have a day of the range."""
    if not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        raise BadInputError("These marts are not partitioned by time.")
    found = []
    for day in (first, last):
        midnight = datetime.combine(day, time(), UTC)
        key = partitions.get_partition_key_for_timestamp(midnight.timestamp())
        if not partitions.has_partition_key(key):
            raise BadInputError(
                f"Marts are built for days from {partitions.start:%Y-%m-%d} until today, "
                f"not for {day}."
            )
        found.append(date.fromisoformat(key))
    return found[0], found[1]
