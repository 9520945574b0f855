"""What a replay would do, in the figures that it then has (B-9).

The files are read and the months judged by the pipeline's own code; what comes out is compared
with what quarantine holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.replay_months import (
    account_days_of,
    months_to_process,
)
from pipeline_platform.advisory_performance.replay_moves import MonthMove, month_moves
from pipeline_platform.advisory_performance.replay_trial import Judgement, judge
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.advisory_performance.vendor_check import RuleCount
from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.ingestion.selection import (
    Replayable,
    Selection,
    find_replayable,
)
from pipeline_platform.ingestion.trial import (
    FileTrial,
    former_partitions,
    trial_folder,
    try_files,
)
from pipeline_platform.partition_ranges import partition_key
from pipeline_platform.quality.audit import ledger_measurements
from pipeline_platform.quality.conservation import LedgerEntry, ledger
from pipeline_platform.quality.quarantine import QuarantinedRow, list_rows, without_text
from pipeline_platform.quality.replay import preview_replay as compared
from pipeline_platform.refinement import HOP as SILVER_HOP

EXAMPLES = 3


@dataclass(frozen=True)
class Preview:
    """What a replay would do; every count is what the replay then does (B-9).

    `held_rows` selected records: `passing_rows` of them would pass both hops, `failing_rows` says
    why the others would not. `held_files` selected files: `passing_files` would be read,
    `failing_files` refused again; of the `file_records` in the readable ones
    `passing_file_records` would reach silver. `also_passing` counts records outside of the
    selection that would pass with them, `newly_failing` published ones that would be refused.
    `files` (hash, name) would be read again, `months` requested; `processed_months` are all that
    must then be computed, for later months link from earlier ones. `account_days` counts gold in
    `months`, `processed_account_days` in all of them. Validity is a percentage of the processed
    months' records; `objections` say what would forbid their publication. `moves` says how score
    and gold of the processed months would move; None if that was not asked for, or nothing would
    be published.
    """

    held_rows: int
    passing_rows: int
    failing_rows: tuple[RuleCount, ...]
    held_files: int
    passing_files: int
    failing_files: tuple[FileTrial, ...]
    file_records: int
    passing_file_records: int
    also_passing: int
    newly_failing: tuple[RuleCount, ...]
    files: tuple[tuple[str, str], ...]
    months: tuple[str, ...]
    processed_months: tuple[str, ...]
    account_days: int
    processed_account_days: int
    validity_before: float | None
    validity_after: float | None
    objections: tuple[str, ...]
    moves: tuple[MonthMove, ...] | None = None

    @property
    def changes_nothing(self) -> bool:
        """Tell whether there is nothing that a replay could do."""
        return not (self.files or self.months)


@dataclass(frozen=True)
class _Outlook:
    """The months to request, all that are processed then, how those would be judged.

    `left_alone`: what would be rejected in months where nothing would pass, hence not requested.
    """

    months: frozenset[str]
    span: list[date]
    judgement: Judgement
    left_alone: tuple[QuarantinedRow, ...]


def preview_replay(run: RunContext, selection: Selection, *, moves: bool = False) -> Preview:
    """Say what a replay would do, by reading and judging as it would; nothing is changed.

    Files are read into a temporary folder one by one and months judged in pieces, so that memory
    stays bounded. The run's mappings and rules are what is tried. With `moves` the months' gold is
    computed too, which takes as long as processing them.
    """
    found = find_replayable(run, selection)
    with trial_folder(run) as folder:
        return _preview(run, found, folder, moves=moves)


def _preview(run: RunContext, found: Replayable, folder: Path, *, moves: bool) -> Preview:
    trials = _trials(run, found, folder)
    again = _worth_reading(trials, found)
    outlook = _judged(run, found, again, folder if moves else None)
    months, span = outlook.months, [partition_key(month) for month in outlook.span]
    records = [trial for trial in again if trial.file_sha256 in found.refused]
    read = {trial.file_sha256 for trial in records}
    rejected = [*_lines(again), *outlook.judgement.rejected]
    explained = [*rejected, *_left_unread(trials, again, found), *outlook.left_alone]
    held, given_up = _others_in_reach(run, found, again, span)
    stored = _stored_ledger(run, span)
    news = _taken_out(rejected, stored, again, found.refused)
    selected = compared(_anywhere(found.rows), _anywhere(explained))
    besides = compared(_anywhere([*held, *given_up]), _anywhere(rejected))
    newly = compared(
        _anywhere([*found.rows, *held]),
        _anywhere(news),
        discarded={row.place for row in _anywhere(given_up)},
    ).newly_failing
    arrived = sum(trial.arrived for trial in records)
    return Preview(
        held_rows=selected.held,
        passing_rows=selected.passing,
        failing_rows=_with_examples(selected.still_failing, explained, found.rows),
        held_files=len(found.files),
        passing_files=len(records),
        failing_files=tuple(
            trials[file.file_sha256] for file in found.files if file.file_sha256 not in read
        ),
        file_records=arrived,
        passing_file_records=arrived - sum(row.file_sha256 in read for row in rejected),
        also_passing=besides.passing,
        newly_failing=_with_examples(newly, news, news),
        files=tuple((trial.file_sha256, trial.file_name) for trial in again),
        months=tuple(sorted(months)),
        processed_months=tuple(span),
        account_days=account_days_of(run, months),
        processed_account_days=account_days_of(run, span),
        validity_before=_validity(stored),
        validity_after=_validity(outlook.judgement.ledger),
        objections=outlook.judgement.objections,
        moves=month_moves(run, outlook.span, outlook.judgement, folder)
        if moves and not outlook.judgement.objections
        else None,
    )


def _trials(run: RunContext, found: Replayable, folder: Path) -> dict[str, FileTrial]:
    """Try the files; of what they reject, only the text is left where it is."""
    return {
        trial.file_sha256: replace(trial, rejected=tuple(without_text(trial.rejected)))
        for trial in try_files(VendorFiles(run), found, folder)
    }


def _worth_reading(trials: Mapping[str, FileTrial], found: Replayable) -> list[FileTrial]:
    """Return the readable files that were refused, or of which a refused line would pass."""
    still = {row.place for trial in trials.values() for row in trial.rejected}
    gaining = {
        row.file_sha256 for row in found.rows if row.hop == LANDING_HOP and row.place not in still
    }
    return [
        trial
        for trial in trials.values()
        if trial.rule is None and trial.file_sha256 in found.refused | gaining
    ]


def _judged(
    run: RunContext, found: Replayable, again: Sequence[FileTrial], keep: Path | None
) -> _Outlook:
    """Judge all that would have to be processed; months in which nothing would pass are left out.

    They are known only when they have been judged, and leaving them out may shorten the range.
    """
    touched = former_partitions(run, [trial.file_sha256 for trial in again])
    touched |= {month for trial in again for month in trial.published}
    silver = [row for row in found.rows if row.hop == SILVER_HOP]
    span = months_to_process(run, touched | {row.partition_key for row in silver})
    judgement = judge(run, span, again, keep) if span else Judgement()
    still = {row.place for row in judgement.rejected}
    months = touched | {row.partition_key for row in silver if row.place not in still}
    needed = months_to_process(run, months)
    if needed == span:
        return _Outlook(frozenset(months), span, judgement, ())
    keys = {partition_key(month) for month in needed}
    left_alone = tuple(row for row in judgement.rejected if row.partition_key not in keys)
    judgement = judge(run, needed, again, keep) if needed else Judgement()
    return _Outlook(frozenset(months), needed, judgement, left_alone)


def _lines(trials: Iterable[FileTrial]) -> list[QuarantinedRow]:
    return [row for trial in trials for row in trial.rejected]


def _left_unread(
    trials: Mapping[str, FileTrial], again: Sequence[FileTrial], found: Replayable
) -> list[QuarantinedRow]:
    """Return why the selected lines of files that won't be read again still fail."""
    read = {trial.file_sha256 for trial in again}
    left = [trial for trial in trials.values() if trial.file_sha256 not in read]
    refused = [
        replace(row, rule=trial.rule, reason=trial.reason or "")
        for row in found.rows
        if row.hop == LANDING_HOP
        and row.file_sha256 not in read
        and (trial := trials[row.file_sha256]).rule is not None
    ]
    return [*_lines(left), *refused]


def _others_in_reach(
    run: RunContext, found: Replayable, again: Sequence[FileTrial], span: Sequence[str]
) -> tuple[list[QuarantinedRow], list[QuarantinedRow]]:
    """Return the held and the discarded records that are judged along with the selected ones."""
    read, months = {trial.file_sha256 for trial in again}, set(span)
    chosen = {row.place for row in found.rows}
    with run.services.database.connection() as connection:
        rows = list_rows(connection, PIPELINE, state=None, limit=None, with_text=False)
    reached = [
        (one.state, one.row)
        for one in rows
        if one.row.place not in chosen
        and (
            one.row.file_sha256 in read
            if one.row.hop == LANDING_HOP
            else one.row.partition_key in months
        )
    ]
    return (
        [row for state, row in reached if state == "HELD"],
        [row for state, row in reached if state == "DISCARDED"],
    )


def _taken_out(
    rejected: Sequence[QuarantinedRow],
    stored: Sequence[LedgerEntry],
    again: Sequence[FileTrial],
    refused: frozenset[str],
) -> list[QuarantinedRow]:
    """Keep the rejected records that were judged before; what is new can't be taken out."""
    judged_before = {(entry.file_sha256, entry.partition_key) for entry in stored}
    published = {trial.file_sha256 for trial in again} - refused
    return [
        row
        for row in rejected
        if row.file_sha256 in published or (row.file_sha256, row.partition_key) in judged_before
    ]


def _anywhere(rows: Iterable[QuarantinedRow]) -> list[QuarantinedRow]:
    """Forget the hop: a record that passes the first one and fails in the second still fails."""
    return [replace(row, hop="") for row in rows]


def _with_examples(
    counts: Mapping[str, int], rejected: Iterable[QuarantinedRow], of: Iterable[QuarantinedRow]
) -> tuple[RuleCount, ...]:
    """Add to each rule the reasons of its first records among those in question."""
    wanted = {row.place[1:] for row in of}
    reasons: dict[str, list[str]] = {}
    for row in rejected:
        examples = reasons.setdefault(row.rule, [])
        if len(examples) < EXAMPLES and row.place[1:] in wanted and row.reason not in examples:
            examples.append(row.reason)
    return tuple(RuleCount(rule, n, tuple(reasons.get(rule, ()))) for rule, n in counts.items())


def _stored_ledger(run: RunContext, span: Sequence[str]) -> list[LedgerEntry]:
    with run.services.database.connection() as connection:
        entries = ledger(connection, PIPELINE, hop=SILVER_HOP)
    return [entry for entry in entries if entry.partition_key in set(span)]


def _validity(entries: Sequence[LedgerEntry]) -> float | None:
    return ledger_measurements(entries)["data_validity"].value
