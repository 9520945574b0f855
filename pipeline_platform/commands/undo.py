"""`pipeline-platform undo`: one run taken back as a whole, or what that would do (B-5)."""

import getpass
import uuid
from collections.abc import Mapping
from datetime import UTC
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.lake_tables import all_tables, tables_of
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, console, errors
from pipeline_platform.commands.pipelines import reload_of
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.commands.run_details import made_from, run_id_of
from pipeline_platform.failures import ConflictError, NotFoundError
from pipeline_platform.ingestion.undoing import BackTo, TakenFile
from pipeline_platform.lake.publications import RUN_ID
from pipeline_platform.lake.reversion import Reversion, compare
from pipeline_platform.operations.impact import subjects_changed, subjects_of_files
from pipeline_platform.operations.undo import Undoing, UndoPlan
from pipeline_platform.orchestration.history import pipelines
from pipeline_platform.orchestration.pipeline_runs import belongs
from pipeline_platform.orchestration.sensors import UNFINISHED
from pipeline_platform.run_context import utc_now
from pipeline_platform.streams.batch_files import is_batch_name
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor

MOST_SHOWN = 20
Row = Mapping[str, object]


def undo(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the beginning of it.")],
    back_to: Annotated[
        BackTo,
        typer.Option(help="Where its files go: held in quarantine, or to where they came from."),
    ] = "quarantine",
    reason: Annotated[str, typer.Option(help="Why; it is kept with files and run.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--apply", help="Only say what would be done (the default).")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Take back what a run did: lake, PostgreSQL, position and landing folder together (B-5).

    Without --apply it only shows what would go and come back. The pipeline must be stopped for
    it. Exit code 1 if a later run built on this one: it is named, and must be undone first. An
    undo that was killed is finished by the same command; exit code 75 if somebody published in
    between, and then nothing was changed unless it says so.
    """
    with code_location() as location:
        run_id = run_id_of(location, run)
        pipeline = _pipeline_of(location, run_id)
        undoing = _undoing(location, pipeline)
        if dry_run:
            plan = undoing.plan(run_id, back_to)
            _show(location, plan, as_json=as_json)
            raise typer.Exit(FOUND_FAULTS if plan.blockers else 0)
        _refuse_unfinished(location, pipeline)
        action = Action(command_line_actor(), "undo", run_id, None, reason or None)
        with audited(location.services.database, action):
            done = undoing.apply(
                run_id,
                back_to,
                by=getpass.getuser(),
                reason=reason or "no reason given",
            )
            action.state_after = done.document()
        if as_json:
            show_facts("Undone", {"run": run_id, "undone_by": undoing.run_id}, as_json=True)
            return
        console.print(
            f"Undone. {pipeline} is still stopped; mend the cause, then "
            f"`pipeline-platform pipelines resume {pipeline}`.",
            markup=False,
        )


def _undoing(location: CodeLocation, pipeline: str) -> Undoing:
    run_id = f"undo-{uuid.uuid4().hex[:12]}"
    return Undoing(
        services=location.services,
        pipeline=pipeline,
        tables=tables_of(pipeline),
        downstream=made_from(location),
        run_id=run_id,
        now=utc_now(),
        reload=reload_of(location.services, pipeline, run_id),
    )


def _pipeline_of(location: CodeLocation, run_id: str) -> str:
    """Return whose run it is: of Dagster's job, of its files, or of the tables that it wrote."""
    run = location.instance.get_run_by_id(run_id)
    if run is not None:
        having_tables = {table.pipeline for table in all_tables()}
        found = [
            one for one in pipelines(location.graph) if one in having_tables and belongs(run, one)
        ]
        if found:
            return found[0]
    with location.services.database.connection() as connection:
        row = connection.execute(
            "SELECT pipeline FROM etl_processing_log WHERE run_id = %s LIMIT 1", (run_id,)
        ).fetchone()
    if row is not None:
        return str(row[0])
    lake = location.services.lake
    for table in all_tables():
        if any(one.properties.get(RUN_ID) == run_id for one in lake.snapshots(table)):
            return table.pipeline
    raise NotFoundError(f"Run {run_id} is no pipeline's, so there is nothing to undo.")


def _refuse_unfinished(location: CodeLocation, pipeline: str) -> None:
    """Raise ConflictError while a run of the pipeline may still publish."""
    active = location.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    mine = [one for one in active if belongs(one, pipeline)]
    if mine:
        raise ConflictError(
            f"Run {mine[0].run_id} of {pipeline} is not finished; wait for its end, or terminate "
            "it in the UI if its process is dead."
        )


def _show(location: CodeLocation, plan: UndoPlan, *, as_json: bool) -> None:
    tables = [_table_row(location, one) for one in plan.reversions]
    taken = [one for one in plan.files if not one.is_refused]
    files: list[Row] = [
        {
            "file": one.name,
            "sha256": one.sha256[:12],
            "rows that go": 0 if one.is_refused else one.rows,
            "partitions": list(one.partitions),
            "goes to": _place(one, plan.back_to),
        }
        for one in plan.files
    ]
    blockers = _blockers(plan)
    facts: dict[str, object] = {
        "run": plan.run_id,
        "pipeline": plan.pipeline,
        "first commit (UTC)": plan.since.astimezone(UTC),
        "files": len(plan.files),
        "bronze rows that go": sum(one.rows for one in taken),
        "streams that go back": sorted(plan.positions),
        "accounts or visitors touched": len(_subjects(location, plan)),
        "served again": list(plan.served),
        "partitions that wait again": sorted(
            {*plan.refined, *(key for one in taken for key in one.partitions)}
        ),
        "can be undone": not plan.blockers,
    }
    if as_json:
        document = {**facts, "tables": tables, "taken": files, "built on it": blockers}
        show_facts("Undo", document, as_json=True)
        return
    show_facts(f"Undo of run {plan.run_id}: nothing was changed", facts, as_json=False)
    if tables:
        show_rows("Tables that go back to before the run", tables, as_json=False)
    if files:
        show_rows("Files", files[:MOST_SHOWN], as_json=False)
        if len(files) > MOST_SHOWN:
            errors.print(f"{MOST_SHOWN} of {len(files)} files are shown; --json has all.")
    if blockers:
        show_rows("Built on it since; undo these first, in this order", blockers, as_json=False)
        errors.print("It can't be undone yet: later runs built on it.", highlight=False)


def _blockers(plan: UndoPlan) -> list[Row]:
    """Return each run that built on the plan's, the last first."""
    found = []
    for run_id in {one.run_id for one in plan.blockers}:
        mine = [one for one in plan.blockers if one.run_id == run_id]
        keys = sorted({key for one in mine for key in one.partitions})
        found.append(
            {
                "run": run_id,
                "last commit (UTC)": max(one.at for one in mine).astimezone(UTC),
                "partitions": keys if len(keys) < 4 else [keys[0], f"{len(keys)} in all", keys[-1]],
                "tables": sorted(one.table.partition("/")[2] for one in mine),
            }
        )
    return sorted(found, key=lambda one: str(one["last commit (UTC)"]), reverse=True)


def _subjects(location: CodeLocation, plan: UndoPlan) -> set[str]:
    services = location.services
    taken = [one.sha256 for one in plan.files if not one.is_refused]
    found = subjects_of_files(services, tables_of(plan.pipeline), taken)
    for reversion in plan.reversions:
        found |= subjects_changed(services, reversion)
    return found


def _table_row(location: CodeLocation, reversion: Reversion) -> Row:
    found = compare(location.services.lake, reversion)
    return {
        "table": "/".join(reversion.table.asset_key),
        "partitions": reversion.keys,
        "rows now": found.rows_now,
        "rows after": found.rows_after,
        "rows that go": found.rows_lost,
        "rows that come back": found.rows_regained,
    }


def _place(file: TakenFile, back_to: BackTo) -> str:
    if back_to == "quarantine":
        return "stays in quarantine" if file.is_refused else "quarantine"
    return "its stream" if is_batch_name(file.name) else "incoming"
