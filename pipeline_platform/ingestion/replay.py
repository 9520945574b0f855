"""Read files again that quarantine holds, or that hold rejected lines, after a mend (XC-6, B-9).

First a preview that stores nothing, then the same for real. Nothing is read again that would be
refused again, so a replay never takes anything out of bronze because a file became unreadable.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline_platform.failures import NotFoundError
from pipeline_platform.ingestion.files import (
    FILES_PER_COMMIT,
    FileOutcome,
    ingest_files,
    ingest_lock,
    landing_of,
)
from pipeline_platform.ingestion.intake import HOP, Intake
from pipeline_platform.ingestion.selection import Selection, find_replayable
from pipeline_platform.ingestion.trial import (
    FileTrial,
    former_partitions,
    place_of,
    try_files,
)
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.progress import tracked
from pipeline_platform.quality.quarantine import list_rows
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

    `held_rows` selected lines: `passing_rows` would be read, `failing_rows` counts the others by
    the rule that rejects them now. `held_files` selected files: `passing_files` would be read,
    `failing_files` refused again. `newly_failing` counts lines that are in bronze now and would be
    rejected. `again` are the files to read: refused ones that can be read, and those that gain a
    line; their rows lie in the folder of the preview.
    """

    held_rows: int
    passing_rows: int
    failing_rows: Mapping[str, int]
    held_files: int
    passing_files: int
    failing_files: tuple[FileTrial, ...]
    newly_failing: Mapping[str, int]
    again: tuple[FileTrial, ...]

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """The files to read again: hash, name."""
        return tuple((trial.file_sha256, trial.file_name) for trial in self.again)

    @property
    def changes_nothing(self) -> bool:
        """Tell whether there is nothing that a replay could do."""
        return not self.again


@dataclass(frozen=True)
class Foretold:
    """What a replay would move downstream, as a pipeline tells it (B-9).

    `processed` are the partitions that would be processed; with any of `objections` nothing would
    be published. `tables` say by title what moves, the first also when it is empty; `document` the
    same for a program.
    """

    processed: tuple[str, ...]
    objections: tuple[str, ...]
    tables: Sequence[tuple[str, Sequence[Mapping[str, object]]]]
    document: Mapping[str, object]


def preview_files(intake: Intake, selection: Selection, folder: Path) -> FilePreview:
    """Say what a replay would do, by reading as it would into a folder; nothing is changed.

    One file after the other is compared with what is held of it, so that the records of one file
    at most are looked at together.
    """
    found = find_replayable(intake.run, selection)
    held: dict[str, set[int]] = defaultdict(set)
    for row in found.rows:
        if row.hop == HOP:
            held[row.file_sha256].add(row.line_number)
    failing: Counter[str] = Counter()
    newly_failing: Counter[str] = Counter()
    again: list[FileTrial] = []
    refused: list[FileTrial] = []
    for trial in try_files(intake, found, folder):
        lines, is_refused = held[trial.file_sha256], trial.file_sha256 in found.refused
        tried = replace(trial, rejected=())
        if trial.rule is not None:
            failing[trial.rule] += len(lines)
            refused += [tried] if is_refused else []
            continue
        still = Counter(row.rule for row in trial.rejected if row.line_number in lines)
        failing += still
        if is_refused or still.total() < len(lines):
            again.append(tried)
            newly_failing += Counter() if is_refused else _newly_failing(intake, trial)
    count = sum(map(len, held.values()))
    return FilePreview(
        held_rows=count,
        passing_rows=count - failing.total(),
        failing_rows=dict(sorted((+failing).items())),
        held_files=len(found.files),
        passing_files=len(found.files) - len(refused),
        failing_files=tuple(refused),
        newly_failing=dict(sorted(newly_failing.items())),
        again=tuple(again),
    )


def replay_files(intake: Intake, preview: FilePreview) -> list[FileOutcome]:
    """Do what a preview said; the files' partitions, old and new, are requested.

    The old ones first: had a file lost a partition and this process been killed, nobody else
    would know that the partition has to be judged without it.
    """
    run, pipeline = intake.run, intake.table.pipeline
    former = former_partitions(run, [sha256 for sha256, _ in preview.files])
    with run.services.database.transaction() as connection:
        control.request_partitions(connection, pipeline, former, run.now())
    return list(read_again(intake, preview.files))


def _newly_failing(intake: Intake, trial: FileTrial) -> Counter[str]:
    """Count the records of a file that are in bronze now and would be rejected, by rule."""
    with intake.run.services.database.connection() as connection:
        known = {
            held.row.line_number
            for held in list_rows(
                connection,
                intake.table.pipeline,
                state=None,
                file_sha256=trial.file_sha256,
                limit=None,
                with_text=False,
            )
            if held.state != "REPLAYED" and held.row.hop == HOP
        }
    return Counter(row.rule for row in trial.rejected if row.line_number not in known)
