"""Read files again that quarantine holds, or that hold rejected lines, after a mend (XC-6, B-9).

First a preview that stores nothing, then the same for real. Nothing is read again that would be
refused again, so a replay never takes anything out of bronze because a file became unreadable.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_platform.failures import NotFoundError
from pipeline_platform.ingestion.files import (
    FILES_PER_COMMIT,
    FileOutcome,
    ingest_files,
    ingest_lock,
    landing_of,
)
from pipeline_platform.ingestion.intake import HOP, Intake
from pipeline_platform.ingestion.selection import Replayable, Selection, find_replayable
from pipeline_platform.ingestion.trial import FileTrial, place_of, try_file
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.landing.objects import temporary_folder
from pipeline_platform.progress import tracked
from pipeline_platform.quality.quarantine import QuarantinedRow, list_rows
from pipeline_platform.quality.quarantined_files import list_files
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.stops import while_running


def read_again(intake: Intake, files: Sequence[tuple[str, str]]) -> Iterator[FileOutcome]:
    """Bring files (hash, name) back and read them, in bounded commits; one outcome per file.

    No other run may recover them meanwhile. Raises NotFoundError for one that lies nowhere.
    """
    zone = landing_of(intake)
    database, lock = intake.run.services.database, ingest_lock(zone.pipeline)
    starts = range(0, len(files), FILES_PER_COMMIT)
    with named_lock(database, lock, is_shared=True):
        for start in while_running(database, zone.pipeline, starts):
            claimed = []
            for sha256, name in files[start : start + FILES_PER_COMMIT]:
                found = place_of(intake, sha256, name)
                if found is None:
                    raise NotFoundError(
                        f"{name} is neither in archive nor in quarantine any more; "
                        "look with `landing list`."
                    )
                claimed.append(zone.restore(sha256, stored_name(found[1].key, sha256)))
            outcomes = ingest_files(intake, claimed, again=True)
            yield from tracked(outcomes, "files", len(claimed))


@dataclass(frozen=True)
class FilePreview:
    """What reading held files and lines again would do; every count is what it then does (B-9).

    Of the selected records `passing_rows` would reach bronze, `failing_rows` says by which rule
    the others would not. Of the selected files `passing_files` would be read, `failing_files`
    refused again. `newly_failing` counts published records that would be rejected now, by rule.
    `files` (hash, name) would be read again.
    """

    held_rows: int
    passing_rows: int
    failing_rows: Mapping[str, int]
    held_files: int
    passing_files: int
    failing_files: tuple[FileTrial, ...]
    newly_failing: Mapping[str, int]
    files: tuple[tuple[str, str], ...]

    @property
    def changes_nothing(self) -> bool:
        """Tell whether there is nothing that a replay could do."""
        return not self.files


def preview_files(intake: Intake, selection: Selection) -> FilePreview:
    """Say what a replay would do, by reading as it would into a temporary folder."""
    found = find_replayable(intake.run, selection)
    lines = [row for row in found.rows if row.hop == HOP]
    trials = _trials(intake, found, lines)
    rejected = {row.place: row.rule for trial in trials.values() for row in trial.rejected}
    failing = Counter(
        rule
        for row in lines
        if (rule := trials[row.file_sha256].rule or rejected.get(row.place)) is not None
    )
    gaining = {
        row.file_sha256
        for row in lines
        if trials[row.file_sha256].rule is None and row.place not in rejected
    }
    again = [
        trial
        for sha256, trial in trials.items()
        if trial.rule is None and sha256 in found.refused | gaining
    ]
    return FilePreview(
        held_rows=len(lines),
        passing_rows=len(lines) - failing.total(),
        failing_rows=dict(sorted(failing.items())),
        held_files=len(found.files),
        passing_files=sum(trial.file_sha256 in found.refused for trial in again),
        failing_files=tuple(
            trials[file.file_sha256]
            for file in found.files
            if trials[file.file_sha256].rule is not None
        ),
        newly_failing=_newly_failing(intake, again),
        files=tuple((trial.file_sha256, trial.file_name) for trial in again),
    )


def replay_files(intake: Intake, preview: FilePreview) -> list[FileOutcome]:
    """Do what a preview said; the files' partitions, old and new, are requested.

    The old ones first: had a file lost a partition and this process been killed, nobody else
    would know that the partition has to be judged without it.
    """
    run, pipeline = intake.run, intake.table.pipeline
    with run.services.database.transaction() as connection:
        rows = connection.execute(
            "SELECT DISTINCT unnest(partition_keys) FROM etl_processing_log"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s)",
            (pipeline, [sha256 for sha256, _ in preview.files]),
        ).fetchall()
        control.request_partitions(connection, pipeline, (key for (key,) in rows), run.now())
    return list(read_again(intake, preview.files))


def _trials(
    intake: Intake, found: Replayable, lines: Sequence[QuarantinedRow]
) -> dict[str, FileTrial]:
    """Try every refused file, and every file of which a line was rejected."""
    names = {file.file_sha256: file.file_name for file in found.files}
    names |= {row.file_sha256: row.file_name for row in lines}
    folder = temporary_folder(intake.run.services.settings) / intake.table.pipeline
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="replay-", dir=folder) as temporary:
        return {
            sha256: try_file(intake, sha256, name, Path(temporary))
            for sha256, name in tracked(names.items(), "files tried")
        }


def _newly_failing(intake: Intake, again: Sequence[FileTrial]) -> dict[str, int]:
    """Count records that are in bronze now and would be rejected, by rule."""
    with intake.run.services.database.connection() as connection:
        known = {
            held.row.place
            for held in list_rows(connection, intake.table.pipeline, state=None, limit=None)
            if held.state != "REPLAYED"
        }
        refused = {
            file.file_sha256 for file in list_files(connection, intake.table.pipeline, limit=None)
        }
    new = Counter(
        row.rule
        for trial in again
        if trial.file_sha256 not in refused
        for row in trial.rejected
        if row.place not in known
    )
    return dict(sorted(new.items()))
