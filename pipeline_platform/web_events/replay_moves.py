"""How silver, score, marts and checks would move if what quarantine holds was replayed (B-9).

Days are judged by the functions that process them, over a lake in which temporary files stand in
for what would be published; nothing is stored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline_platform.ingestion.trial import FileTrial, former_partitions
from pipeline_platform.lake.relations import unique_name
from pipeline_platform.lake.trial_lake import TrialLake, write_rows
from pipeline_platform.partition_ranges import dates_in, partition_key, pieces, stretches
from pipeline_platform.quality.audit import judged, objections_to
from pipeline_platform.quality.validation import validate
from pipeline_platform.web_events.effects import MartEffects, are_equal, effects, plain
from pipeline_platform.web_events.refinement import (
    ROWS_PER_MEGABYTE,
    contract,
    ledger_entries,
    normalise_days,
    requested_days,
    rows_within,
    silver_engine,
)
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS


@dataclass(frozen=True)
class DayMove:
    """A day's events and their mean score (0 to 1, None without events), now and then."""

    day: str
    events_before: int
    events_after: int
    score_before: float | None
    score_after: float | None


@dataclass(frozen=True)
class Moves:
    """What moves: days whose events or score do, and the effects on marts and checks.

    `processed_days` are all that would be processed: those of the files, now and then, those that
    wait already, and those whose duplicates change. With any of `objections` nothing would be
    published, and nothing moves.
    """

    processed_days: tuple[str, ...]
    objections: tuple[str, ...]
    days: tuple[DayMove, ...] = ()
    effects: Mapping[str, Any] | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return everything as lists, texts and numbers."""
        return plain(asdict(self))


def day_moves(
    run: RunContext, again: Sequence[FileTrial], folder: Path, marts: MartEffects
) -> Moves:
    """Judge the days that reading files again would have processed, and say what moves.

    What is computed is written to `folder`, where the rows of the tried files lie, too.
    """
    lake = TrialLake(run.services.lake)
    hashes = [trial.file_sha256 for trial in again]
    lake.deliver(RAW_EVENTS, hashes, [str(trial.rows) for trial in again])
    keys = former_partitions(run, hashes) | {key for trial in again for key in trial.published}
    trial = replace(run, services=run.services.with_lake(lake))
    days: set[date] = set()
    objections: list[str] = []
    waiting = {*map(date.fromisoformat, keys), *requested_days(run)}
    while waiting - days:
        todo = sorted(waiting - days)
        for piece in _pieces(trial, todo):
            outdated, objected = _process(trial, lake, piece, folder)
            waiting |= outdated
            objections += objected
        days.update(todo)
    processed = sorted(days)
    names = tuple(map(partition_key, processed))
    if objections:
        return Moves(names, tuple(objections))
    return Moves(
        names,
        (),
        tuple(_moved(run, trial, processed)),
        effects(run, trial, processed, marts),
    )


def _pieces(run: RunContext, days: Iterable[date]) -> Iterator[list[date]]:
    rows = dates_in(run.services.lake.partitions(RAW_EVENTS))
    for stretch in stretches(days):
        yield from pieces(stretch, rows, rows_within(run, ROWS_PER_MEGABYTE))


def _process(
    run: RunContext, lake: TrialLake, days: Sequence[date], folder: Path
) -> tuple[set[date], list[str]]:
    """Put silver of days into the lake; return the days it makes wrong, and what forbids it."""
    span = (days[0], days[-1])
    with silver_engine(run) as engine:
        normalised = normalise_days(run, engine, days)
        lake.put(
            WEB_EVENTS,
            span,
            [
                write_rows(
                    WEB_EVENTS,
                    normalised.events.filter(one.condition),
                    str(folder / f"{unique_name(WEB_EVENTS.name)}.parquet"),
                )
                for one in normalised.slices
            ],
        )
        written = lake.relation(engine, WEB_EVENTS, months=span)
        audit = {WEB_EVENTS.name: validate(contract(), written, now=run.now())}
        verdicts = judged(ledger_entries(normalised, written), run.runbook.blocking_thresholds)
    return set(normalised.outdated_days), objections_to(audit, verdicts)


def _moved(run: RunContext, trial: RunContext, days: Sequence[date]) -> Iterator[DayMove]:
    before, after = _figures(run, days), _figures(trial, days)
    for day in days:
        old, new = before.get(day, (0, None)), after.get(day, (0, None))
        if old[0] != new[0] or not are_equal(old[1], new[1]):
            yield DayMove(partition_key(day), old[0], new[0], old[1], new[1])


def _figures(run: RunContext, days: Sequence[date]) -> dict[date, tuple[int, float | None]]:
    found: dict[date, tuple[int, float | None]] = {}
    with run.services.connect() as engine:
        for stretch in stretches(days):
            span = (stretch[0], stretch[-1])
            rows = run.services.lake.relation(engine, WEB_EVENTS, months=span)
            figures = rows.aggregate("event_date, count(*), avg(data_quality_score)", "event_date")
            found |= {day: (count, score) for day, count, score in figures.fetchall()}
    return found
