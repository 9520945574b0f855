"""Overlapping backfills, arrivals, a compaction and a reader at once, each in its own process."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.runbook import CompactionLimits
from pipeline_platform.services import Services
from pipeline_platform.web_events.automation import WORKFLOW
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS
from tests.assets.platform_runs import keep_project_parsed, running, settings_at
from tests.integration.web_events.event_files import (
    DAY,
    NOON,
    deliver,
    events,
    ingest,
    refine_requested,
    run_of,
)

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "pipeline_platform.orchestration.warm_start"])
DAYS = [DAY - timedelta(days=back) for back in (3, 2, 1, 0)]
EVENTS_A_DAY, FILES_A_DAY, RUNS_EACH = 60, 3, 1
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
DAILY_SUMMARY = next(table for table in MARTS.tables if table.name == "daily_summary")
ALLOWED_SECONDS = 300


@dataclass(frozen=True)
class Place:
    """The platform that all work on; a file says that the backfills are done."""

    home: Path
    url: str

    def open(self) -> Services:
        return Services(settings_at(self.home, self.url))

    @property
    def done(self) -> Path:
        return self.home / "backfills_are_done"

    def is_busy(self) -> bool:
        return not self.done.exists()


def backfill(place: Place, first: date, last: date, runs: int) -> list[bool]:
    """Run the workflow of a range as a backfill does; return how each run ended."""
    with running(settings_at(place.home, place.url)) as platform:
        return [platform.run(WORKFLOW, tags=range_tags(first, last)).success for _ in range(runs)]


def deliver_copies(place: Place) -> int:
    """Ingest files of events that are there already, each a little file more on every day."""
    number = 0
    with place.open() as services:
        while place.is_busy():
            number += 1
            copies = b"".join(day_of_events(day, slice(0, number % 20 + 1)) for day in DAYS)
            deliver(services, f"events_copies_{number}.ndjson", copies)
            ingest(run_of(services, f"copies-{number}"))
            time.sleep(0.2)
    return number


def compact_all(place: Place) -> int:
    """Compact bronze, silver and gold again and again; return how many partitions were swapped."""
    swapped = 0
    with place.open() as services:
        while place.is_busy():
            for table in (RAW_EVENTS, WEB_EVENTS, DAILY_SUMMARY):
                done = compact(services.lake, table, LIMITS, run_id="compaction")
                swapped += sum(one.skipped is None for one in done)
            time.sleep(0.1)
    return swapped


def read_all(place: Place) -> tuple[int, list[object]]:
    """Return how often it was looked, and every look that did not see each day whole and once."""
    looks, wrong = 0, []
    with place.open() as services:
        while place.is_busy():
            for table, count in ((WEB_EVENTS, "count(*)"), (DAILY_SUMMARY, "sum(total_events)")):
                found = counts(services, table, count)
                wrong += [] if found == dict.fromkeys(DAYS, EVENTS_A_DAY) else [(table.name, found)]
            looks += 1
            time.sleep(0.05)
    return looks, wrong


def counts(services: Services, table: LakeTable, count: str) -> dict[date, int]:
    with services.connect(threads=1) as engine:
        rows = services.lake.relation(engine, table)
        return dict(rows.aggregate(f"event_date, {count}", "event_date").fetchall())


def day_of_events(day: date, part: slice) -> bytes:
    lines = events(EVENTS_A_DAY, NOON - (DAY - day), prefix=f"{day}-").splitlines(keepends=True)
    return b"".join(lines[part])


@pytest.fixture(scope="module")
def outcome(new_database, tmp_path_factory):
    """Publish all days once, then let everybody work at the same time."""
    place = Place(tmp_path_factory.mktemp("beside"), new_database())
    with place.open() as services:
        keep_project_parsed(services.settings)
        for number in range(FILES_A_DAY):
            part = slice(number, None, FILES_A_DAY)
            content = b"".join(day_of_events(day, part) for day in DAYS)
            deliver(services, f"events_{number}.ndjson", content)
            ingest(run_of(services, f"first-{number}"))
    with ProcessPoolExecutor(5, mp_context=PROCESSES) as pool:
        first = pool.submit(backfill, place, DAYS[0], DAYS[-1], 1)
        assert first.result(ALLOWED_SECONDS) == [True]
        beside = [pool.submit(work, place) for work in (deliver_copies, compact_all, read_all)]
        backfills = [
            pool.submit(backfill, place, DAYS[0], DAYS[2], RUNS_EACH),
            pool.submit(backfill, place, DAYS[1], DAYS[3], RUNS_EACH),
        ]
        try:
            ended = [one.result(ALLOWED_SECONDS) for one in backfills]
        finally:
            place.done.touch()
        yield place, ended, *(one.result(ALLOWED_SECONDS) for one in beside)


def test_every_run_of_both_backfills_succeeds(outcome) -> None:
    assert outcome[1] == [[True] * RUNS_EACH] * 2


def test_files_arrived_and_were_compacted_meanwhile(outcome) -> None:
    _, _, delivered, swapped, _ = outcome
    assert (delivered > 1, swapped > 1) == (True, True)


def test_a_reader_sees_every_day_whole_and_once_at_any_time(outcome) -> None:
    looks, wrong = outcome[4]
    assert (looks > 5, wrong) == (True, [])


def test_once_the_copies_are_worked_on_the_counts_are_still_right(outcome) -> None:
    with outcome[0].open() as services:
        refine_requested(run_of(services, "last"))
        assert counts(services, WEB_EVENTS, "count(*)") == dict.fromkeys(DAYS, EVENTS_A_DAY)
