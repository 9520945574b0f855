"""`quarantine replay`: what would pass and, where it is known, move; then the same (B-9)."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline_platform.commands.job_runs import WorkflowEnd, show_end
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.ingestion.replay import FilePreview, Foretold, preview_files, replay_files
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.ingestion.trial import trial_folder
from pipeline_platform.orchestration.registration import registration_of
from pipeline_platform.partition_ranges import Unit
from pipeline_platform.services import Services

Process = Callable[[], WorkflowEnd | None]


def replay_pipeline(
    opened: Services,
    pipeline: str,
    chosen: Selection,
    mappings: Path | None,
    *,
    dry_run: bool,
    process: Process | None,
    as_json: bool,
) -> bool:
    """Read held files and lines of a pipeline again, or say what that would do and move.

    `mappings` is a folder of mappings to try; `process` works on the partitions that wait. Tells
    if all is well then. Raises BadInputError if the pipeline has no mappings.
    """
    work, run_id = registration_of(pipeline), f"cli-{uuid.uuid4()}"
    if mappings is None:
        intake: Intake = work.intake(opened, run_id)
    elif work.intake_through is None:
        raise BadInputError(f"{pipeline} has no mappings that could be tried; leave them out.")
    else:
        intake = work.intake_through(opened, run_id, mappings)
    with trial_folder(intake.run) as folder:
        preview = preview_files(intake, chosen, folder)
        foretold = None
        if dry_run and work.foretell is not None and not preview.changes_nothing:
            foretold = work.foretell(intake, preview, folder)
    done = [] if dry_run else replay_files(intake, preview)
    ended = process() if done and process is not None else None
    _show(_facts(preview, done), foretold, work.unit, ended, as_json=as_json)
    is_refused = bool(preview.failing_rows or preview.failing_files)
    is_refused |= bool(foretold and foretold.objections)
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
    facts: dict[str, object],
    foretold: Foretold | None,
    unit: Unit,
    ended: WorkflowEnd | None,
    *,
    as_json: bool,
) -> None:
    if foretold is not None:
        facts[f"{unit}s processed"] = list(foretold.processed)
        facts["forbids publication"] = list(foretold.objections)
    if as_json:
        if foretold is not None:
            facts["what moves"] = foretold.document
        if ended is not None:
            facts |= {"run": ended.run_id, "did not pass": list(ended.not_passed)}
        show_facts("Replay", facts, as_json=True)
        return
    show_facts("Replay", facts, as_json=False)
    if foretold is not None:
        (title, rows), *others = foretold.tables
        show_rows(title, rows, as_json=False, empty="no figure would move.")
        for title, rows in others:
            if rows:
                show_rows(title, rows, as_json=False)
    if ended is not None:
        show_end(ended, as_json=False)
