"""`quarantine replay`: what would pass and, of web_events, move; then the same for real (B-9)."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline_platform.commands.event_effects import effect_tables, mart_effects
from pipeline_platform.commands.job_runs import WorkflowEnd, show_end
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.ingestion.replay import FilePreview, preview_files, replay_files
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.ingestion.trial import trial_folder
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.replay_moves import Moves, day_moves
from pipeline_platform.web_events.run_context import RunContext, shipped_sources
from pipeline_platform.web_events.sources import load_mappings

Process = Callable[[], WorkflowEnd | None]


def replay_events(
    opened: Services,
    chosen: Selection,
    sources: Path | None,
    *,
    dry_run: bool,
    process: Process | None,
    as_json: bool,
) -> bool:
    """Read held files and lines of web_events again, or say what that would do and move.

    `sources` is a folder of source mappings to try. Tells if all is well then.
    """
    known = load_mappings(sources) if sources else shipped_sources()
    run = RunContext(opened, f"cli-{uuid.uuid4()}", sources=known)

    def moves(preview: FilePreview, folder: Path) -> Moves:
        return day_moves(run, preview.again, folder, mart_effects)

    return replay_intake(
        EventFiles(run), chosen, moves, dry_run=dry_run, process=process, as_json=as_json
    )


def replay_intake(
    intake: Intake,
    chosen: Selection,
    moves_of: Callable[[FilePreview, Path], Moves] | None = None,
    *,
    dry_run: bool,
    process: Process | None,
    as_json: bool,
) -> bool:
    """Read held files and lines of any pipeline again, or say what that would do.

    `moves_of` says what would move downstream, where a pipeline can tell; `process` works on the
    partitions that wait. Tells if all is well then.
    """
    with trial_folder(intake.run) as folder:
        preview = preview_files(intake, chosen, folder)
        moves = None
        if dry_run and moves_of is not None and not preview.changes_nothing:
            moves = moves_of(preview, folder)
    done = [] if dry_run else replay_files(intake, preview)
    ended = process() if done and process is not None else None
    _show(_facts(preview, done), moves, ended, as_json=as_json)
    is_refused = bool(preview.failing_rows or preview.failing_files or (moves and moves.objections))
    is_refused |= any(one.status != "published" for one in done)
    return not is_refused and (ended is None or ended.is_fine)


def _facts(preview: FilePreview, done: Sequence[FileOutcome]) -> dict[str, object]:
    return {
        "held records": preview.held_rows,
        "records that pass now": preview.passing_rows,
        "records that still fail": dict(preview.failing_rows),
        "held files": preview.held_files,
        "files that can be read now": preview.passing_files,
        "files that still fail": {one.file_name: one.rule for one in preview.failing_files},
        "published records that would fail": dict(preview.newly_failing),
        "files read again": [name for _, name in preview.files],
        "partitions requested": sorted({key for one in done for key in one.partitions}),
    }


def _show(
    facts: dict[str, object], moves: Moves | None, ended: WorkflowEnd | None, *, as_json: bool
) -> None:
    if moves is not None:
        facts["days processed"] = list(moves.processed_days)
        facts["forbids publication"] = list(moves.objections)
    if as_json:
        if moves is not None:
            facts["what moves"] = moves.as_plain()
        if ended is not None:
            facts |= {"run": ended.run_id, "did not pass": list(ended.not_passed)}
        show_facts("Replay", facts, as_json=True)
        return
    show_facts("Replay", facts, as_json=False)
    if moves is not None:
        _show_moves(moves)
    if ended is not None:
        show_end(ended, as_json=False)


def _show_moves(moves: Moves) -> None:
    rows = [
        {
            "day": one.day,
            "events": f"{one.events_before} -> {one.events_after}",
            "score": f"{_shown(one.score_before)} -> {_shown(one.score_after)}",
        }
        for one in moves.days
    ]
    show_rows("What moves", rows, as_json=False, empty="no day's events or score would move.")
    for title, found in effect_tables(moves.as_plain()["effects"] or {}):
        if found:
            show_rows(title, found, as_json=False)


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"
