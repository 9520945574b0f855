"""`pipeline-platform recover` and `drill`: what is lost brought back, for real or as a proof."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_instant, pipeline_names
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.commands.verify import sample_queries
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.operations.backups import exercise_row
from pipeline_platform.orchestration.recovery import end_unfinished_runs
from pipeline_platform.orchestration.registration import registration_of
from pipeline_platform.recovery.afterwards import lessons_path
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.drills import drill as make_drill
from pipeline_platform.recovery.ended import add_lesson
from pipeline_platform.recovery.pages import lessons_page
from pipeline_platform.recovery.record import Step
from pipeline_platform.recovery.steps import Recoverer
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.operator_actions import command_line_actor
from pipeline_platform.warehouse.server_files import write_privately


def recover(
    reason: Annotated[str, typer.Option(help="Why; whoever meets the stop reads it.")] = "recovery",
    go: Annotated[
        bool, typer.Option("--go", help="Do it; without, only the plan is printed.")
    ] = False,
    until: Annotated[
        Step | None, typer.Option(help="End after this step; a call without it goes on.")
    ] = None,
    database: Annotated[
        bool | None,
        typer.Option("--database/--no-database", help="Bring it back; else if it is broken."),
    ] = None,
    lake: Annotated[
        bool | None,
        typer.Option("--lake/--no-lake", help="Bring it back; else if files are lost."),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="As it was then; else newest."),
    ] = None,
    backup: Annotated[str | None, typer.Option(metavar="ID", help="Else the newest sound.")] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Give up the recovery that was begun before.")
    ] = False,
    lessons: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What was learnt of this recovery, or of the newest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; so it is without --go, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back what is broken in eight steps (SA-99): assess to lessons.

    Killed or failed, it goes on at the step that was not done, with what was chosen before. Exit
    code 1 if the validation at its end found something that is not as it should be.
    """
    with plain_failures():
        if lessons is not None and not lessons.strip():
            raise BadInputError("Say what was learnt after --lessons.")
        if lessons is not None and not go:
            _add_lesson(lessons, as_json=as_json)
            return
        if go and dry_run:
            raise BadInputError("Give either --go or --dry-run.")
        settings = Settings.from_env()
        recoverer = Recoverer(
            settings,
            by=command_line_actor(),
            clock=utc_now,
            end_runs=lambda: end_unfinished_runs(settings),
            queries=sample_queries,
            reports=_reconciliations,
            lessons=[] if lessons is None else [lessons],
        )
        begun = None if anew else recoverer.unfinished()
        given = (database, lake, as_of, backup)
        if begun is not None and any(one is not None for one in given):
            raise BadInputError(
                f"A recovery was begun {begun.began_at:%Y-%m-%d %H:%M:%S} UTC and goes on with "
                "what was chosen then; give --anew to begin another one."
            )
        if not go:
            recovery = begun or recoverer.draft(
                reason, database=database, lake=lake, at=as_of, backup_id=backup
            )
            done = {one.step for one in recovery.done}
            rows = [
                {"step": step, "done": step in done, "what": "\n".join(said)}
                for step, said in recoverer.plan(recovery)
            ]
            show_rows("Recovery: the plan (do it with --go)", rows, as_json=as_json)
            return
        recovery = begun or recoverer.begin(
            reason, database=database, lake=lake, at=as_of, backup_id=backup
        )
        rows = []
        with showing_progress(as_json=as_json):
            for one in recoverer.go_on(recovery, until):
                rows.append({"step": one.step, "done": True, "what": "\n".join(one.said)})
                if not as_json:
                    console.print(f"{one.step}: {'; '.join(one.said)}", markup=False)
        if as_json:
            show_rows("Recovery", rows, as_json=True)
        elif not rows:
            console.print(
                f"{until} was done before; without --until it goes on with {recovery.next_step}."
            )
    if recovery.faults and recovery.next_step is None:
        errors.print("It is recovered, but not everything is as it should be; see the report.")
        raise typer.Exit(FOUND_FAULTS)


def _add_lesson(lesson: str, *, as_json: bool) -> None:
    """Write a lesson down with the newest recovery; its page of lessons is written anew."""
    with services() as opened:
        with opened.database.transaction() as connection:
            found = add_lesson(connection, lesson)
        if found is None:
            raise NotFoundError("No recovery has ended yet, so there is nothing to learn from.")
        path = lessons_path(opened.settings, found.began_at)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_privately(path, lessons_page(found))
        facts = {"recovery": found.began_at, "lessons": list(found.lessons), "page": str(path)}
        show_facts("Lessons", facts, as_json=as_json)


def _reconciliations(opened: Services, folder: Path) -> list[Path]:
    """Write what each pipeline reconciles itself; return the files."""
    written = []
    for pipeline in pipeline_names():
        write = registration_of(pipeline).reconciliation
        path = folder / f"{pipeline}-reconciliation-{utc_now():%Y-%m-%dT%H-%M-%S}.csv"
        if write is not None and write(opened, path):
            written.append(path)
    return written


def drill(
    backup: Annotated[
        str | None, typer.Argument(metavar="ID", help="Else the newest sound one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a scratch place, verify and time it (SA-97, B-11); changes nothing."""
    with plain_failures():
        settings = Settings.from_env()
        sets = BackupSets(settings)
        chosen = sets.chosen(backup, "database")
        with showing_progress(as_json=as_json):
            result = make_drill(settings, sets, chosen, clock=utc_now)
        facts = {
            "backup": result.backup_id,
            "minutes until all was back and verified": round(result.seconds / 60, 2),
            "newest change that came back (UTC)": result.recovered_until,
            "its age in minutes": result.data_age_minutes,
            "tables of the database compared": result.database_tables,
            "tables of the lake rebuilt": result.lake_tables,
            "rows of the lake counted": result.lake_rows,
            "rules of contracts judged": result.rules,
            "not compared": list(result.skipped),
            "exercises": [exercise_row(one) for one in result.exercises],
            "delivered files": result.landing_files,
            "faults": list(result.faults),
        }
        show_facts("Drill", facts, as_json=as_json)
        if result.faults:
            errors.print("What was brought back is not what it should be.")
            raise typer.Exit(FOUND_FAULTS)
