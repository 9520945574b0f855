"""Replay of what quarantine holds: first a preview, then the same for real (XC-6, B-9, SA-54).

A record is replayed by reading or judging again what it came with. A refused file and a file with
refused lines are read again from where they lie; a record that was refused on the way to silver
needs its month judged again. Nothing is read again that would be refused again, so a replay never
takes anything out of bronze because a file has become unreadable.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.replay_preview import Preview, preview_replay
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.ingestion.replay import read_again
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.warehouse import control

__all__ = ["Preview", "Replayed", "Selection", "preview_replay", "replay"]


@dataclass(frozen=True)
class Replayed:
    """What a replay did: the outcome of each file read again, and the months it requested."""

    outcomes: tuple[FileOutcome, ...]
    months: tuple[str, ...]


def replay(run: RunContext, preview: Preview) -> Replayed:
    """Do what a preview said: read its files again and request its months.

    The months are then processed by the workflow, started by its sensor or `partitions process`.
    They are requested before anything is read, too: had a file lost a month and this process been
    killed, nobody else would know that the month has to be judged without it.
    """
    _request(run, preview.months)
    outcomes = list(read_again(VendorFiles(run), preview.files))
    answered = {month for outcome in outcomes for month in outcome.partitions}
    _request(run, sorted(set(preview.months) - answered))
    return Replayed(tuple(outcomes), tuple(sorted({*preview.months, *answered})))


def _request(run: RunContext, months: Iterable[str]) -> None:
    with run.services.database.transaction() as connection:
        control.request_partitions(connection, PIPELINE, months, run.now())
