"""`pipeline-platform partition-status`, `runs` and `check`: any pipeline of the code location."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated

import dagster as dg
import typer
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from pipeline_platform.commands.arguments import Limit, parse_day
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.job_runs import execute_quietly
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import NotFoundError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.history import (
    AssetState,
    CheckState,
    assets_of,
    partition_of,
    standalone_checks,
    window_of,
)
from pipeline_platform.orchestration.threshold_checks import check_keys
from pipeline_platform.run_context import utc_now

Row = Mapping[str, object]


def parse_recent_day(text: str | date) -> date:
    """Read `today`, `yesterday` (UTC) or YYYY-MM-DD."""
    back = {"today": 0, "yesterday": 1}.get(str(text))
    return parse_day(text) if back is None else utc_now().date() - timedelta(days=back)


Pipeline = Annotated[str, typer.Argument(help="Its name, or the name's beginning.")]
RecentDay = Annotated[
    date,
    typer.Argument(parser=parse_recent_day, metavar="DAY", help="yesterday, today or YYYY-MM-DD."),
]


def partition_status(pipeline: Pipeline, day: RecentDay, as_json: AsJson = False) -> None:
    """Show each asset of a pipeline at the partition that holds a day (SW-2).

    Whether it is there, since when, by which run, how many rows, how its checks ended; `present`
    are rows that a command wrote, not a run of Dagster. Exit code 1 if something is missing, still
    running or failed, or if a check failed.
    """
    with code_location() as location:
        name = location.pipeline(pipeline)
        counts = _row_counts(location, name, day)
        states = [
            replace(state, state="present")
            if state.state == "missing" and counts.get(state.asset)
            else state
            for state in location.history.assets(name, day)
        ]
        rows = [_asset_row(location, state, counts.get(state.asset)) for state in states]
        show_rows(f"{name}, {day}", rows, as_json=as_json, empty="no asset.")
        failing = [
            _check_row(state.asset, check)
            for state in states
            for check in state.checks
            if check.outcome == "fail"
        ]
        if not as_json:
            show_rows("Checks that failed", failing, as_json=False, empty="none.")
    is_complete = all(
        state.state in {"done", "present"} or not location.graph.get(state.asset).is_materializable
        for state in states
    )
    raise typer.Exit(0 if is_complete and not failing else FOUND_FAULTS)


def runs(
    pipeline: Annotated[str | None, typer.Option(help="Only runs of this pipeline.")] = None,
    asset: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only runs for it: pipeline/layer/noun.")
    ] = None,
    limit: Limit = 5,
    as_json: AsJson = False,
) -> None:
    """List the latest runs of Dagster, newest first (SW-4, SA-21); `run show` tells of one.

    `failure` is its kind (docs/operating.md). What became of single files: `reports files`.
    """
    with code_location() as location:
        key = None if asset is None else _asset_named(location.graph, asset)
        name = None if pipeline is None else location.pipeline(pipeline)
        found = location.history.runs(pipeline=name, asset=key, limit=limit)
        rows = [
            {
                "run": one.run_id,
                "job": one.job,
                "status": one.status,
                "partitions": one.partitions,
                "started (UTC)": one.started_at,
                "seconds": one.seconds,
                "failure": one.failure_kind,
            }
            for one in found
        ]
        show_rows("Runs", rows, as_json=as_json, empty="none.")


def check(
    pipeline: Pipeline,
    partition: Annotated[
        date | None,
        typer.Option(
            parser=parse_recent_day,
            metavar="DAY",
            help="Check the partition that holds this day; else the latest ones.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline's checks without materializing anything (SW-14); exit code 1 if one fails.

    Checks that decide on a publication are part of it: of these the latest outcome is shown.
    """
    with code_location() as location:
        name = location.pipeline(pipeline)
        runbook = runbooks().get(name)
        stated = check_keys([*runbook.thresholds.values()]) if runbook else []
        alone, bound = standalone_checks(location.graph, name, stated)
        run = _run_checks(location, name, alone, partition)
        broken = [event for event in run.all_events if event.is_step_failure] if run else []
        states = [
            (key, state)
            for key in (*alone, *bound)
            for state in location.history.checks(
                [key],
                partition_of(location.graph, key.asset_key, partition)
                if partition and key in bound
                else None,
            )
        ]
        rows = [_check_row(key.asset_key, state) for key, state in states]
        shown = rows if as_json else [row for row in rows if row["outcome"] != "pass"]
        show_rows("What did not pass", shown, as_json=as_json, empty="nothing, all is well.")
        for event in broken:
            errors.print(f"The step {event.step_key} failed; see its run.", markup=False)
        passed = sum(row["outcome"] == "pass" for row in rows)
        if not as_json:
            console.print(
                f"{len(alone)} checks were run, {len(bound)} are from publications; "
                f"{passed} of {len(rows)} pass.",
                highlight=False,
            )
    is_fine = not broken and all(row["outcome"] != "fail" for row in rows)
    raise typer.Exit(0 if is_fine else FOUND_FAULTS)


def _run_checks(
    location: CodeLocation, name: str, keys: Sequence[dg.AssetCheckKey], day: date | None
) -> dg.ExecuteInProcessResult | None:
    """Run these checks in this process, over the shortest partition that holds a day if given."""
    if not keys:
        return None
    tags: dict[str, str] = {}
    if day is not None:
        first, _ = window_of(location.graph, assets_of(location.graph, name), day)
        tags = range_tags(first, first)
    job = dg.define_asset_job(f"{name}_checks", selection=dg.AssetSelection.checks(*keys))
    definitions = dg.Definitions.merge(location.definitions, dg.Definitions(jobs=[job]))
    return execute_quietly(location.instance, definitions.resolve_job_def(job.name), tags=tags)


def _row_counts(location: CodeLocation, name: str, day: date) -> dict[dg.AssetKey, int]:
    """Return how many rows the lake holds of the partition of each asset that is a lake table.

    Of an asset without partitions: of the pipeline's shortest partition that holds the day, if its
    table is cut by date, else of the whole table.
    """
    graph = location.graph
    assets = assets_of(graph, name)
    counts: dict[dg.AssetKey, int] = {}
    for asset in assets:
        table = graph.get(asset).metadata.get("dagster/table_name")
        if not isinstance(table, str):
            continue
        is_partitioned = partition_of(graph, asset, day) is not None
        first, end = window_of(graph, [asset] if is_partitioned else assets, day)
        schema, _, noun = table.partition(".")
        counts[asset] = sum(
            count
            for value, count in location.services.lake.row_counts((schema, noun)).items()
            if not isinstance(value, date) or first <= value < end
        )
    return counts


def _asset_row(location: CodeLocation, state: AssetState, count: int | None) -> Row:
    is_observed = not location.graph.get(state.asset).is_materializable
    words = {"done": "observed", "missing": "never observed"} if is_observed else {}
    return {
        "asset": state.asset.to_user_string(),
        "partition": state.partition,
        "state": words.get(state.state, state.state),
        "at (UTC)": state.at,
        "run": state.run_id,
        "rows": state.row_count if count is None else count,
        "pass": state.count("pass"),
        "fail": state.count("fail"),
        "not measurable": state.count("not measurable"),
        "not evaluated": state.count(None),
    }


def _check_row(asset: dg.AssetKey, check: CheckState) -> Row:
    return {
        "asset": asset.to_user_string(),
        "check": check.name,
        "outcome": check.outcome or "not evaluated",
        "severity": check.severity,
        "evaluated (UTC)": check.evaluated_at,
        "why": check.description,
    }


def _asset_named(graph: AssetGraph, name: str) -> dg.AssetKey:
    key = dg.AssetKey(name.split("/"))
    if key not in graph.get_all_asset_keys():
        raise NotFoundError(
            f"There is no asset {name!r}; its key is written pipeline/layer/noun, such as "
            f"{min(graph.get_all_asset_keys()).to_user_string()}."
        )
    return key
