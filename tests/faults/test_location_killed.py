"""A file whose run is killed after it was filed away, before its new place was recorded."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline_platform.ingestion import files
from pipeline_platform.ingestion.withdrawal import withdraw_file
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.tables import PIPELINE
from tests.assets.platform_runs import settings_at
from tests.integration.web_events.event_files import deliver, events, ingest, run_of

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
SECONDS_FOR_LOCKS = 10


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ingest_until_filed_away(home: Path, url: str) -> None:
    files.control.set_location = die
    with Services(settings_at(home, url)) as services:
        ingest(run_of(services, "killed"))


def withdraw_until_recorded(home: Path, url: str) -> None:
    LandingZone.restore = die
    with Services(settings_at(home, url)) as services:
        intake = EventFiles(run_of(services, "killed"))
        with services.database.connection() as connection:
            ((sha256,),) = connection.execute(
                "SELECT file_sha256 FROM etl_processing_log"
            ).fetchall()
        withdraw_file(intake, sha256, "wrong clock")


def register(services: Services) -> list[tuple[str, str | None, int]]:
    """Return each file's status and place, and how many issues name it."""
    with services.database.connection() as connection:
        return connection.execute(
            "SELECT status, location, (SELECT count(*) FROM data_quality_issues AS issue"
            " WHERE issue.file_sha256 = log.file_sha256) FROM etl_processing_log AS log"
            " WHERE pipeline = %s",
            (PIPELINE,),
        ).fetchall()


@pytest.mark.parametrize(
    ("content", "status", "folder", "issues"),
    [(events(2), "PUBLISHED", "archive", 0), (b"no events\n", "QUARANTINED", "quarantine", 1)],
)
def test_the_next_run_records_where_the_file_is(
    content, status, folder, issues, tmp_path, database_url
) -> None:
    with Services(settings_at(tmp_path, database_url)) as services:
        deliver(services, "events_1.ndjson", content)
        child = PROCESSES.Process(target=ingest_until_filed_away, args=(tmp_path, database_url))
        child.start()
        child.join(60)
        assert (child.exitcode, register(services)) == (-signal.SIGKILL, [(status, None, issues)])
        place = found_by_the_next_run(services, folder)
        assert (register(services), Path(place).exists()) == ([(status, place, issues)], True)


def test_the_next_run_puts_a_withdrawn_file_into_quarantine(tmp_path, database_url) -> None:
    with Services(settings_at(tmp_path, database_url)) as services:
        deliver(services, "events_1.ndjson", events(2))
        ingest(run_of(services))
        child = PROCESSES.Process(target=withdraw_until_recorded, args=(tmp_path, database_url))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        place = found_by_the_next_run(services, "quarantine")
        assert register(services) == [("QUARANTINED", place, 0)]


def found_by_the_next_run(services: Services, folder: str) -> str:
    """Ingest until the register knows where the file is; return where it should be."""
    # PostgreSQL needs a moment to notice that the killed one's locks are free.
    until = time.monotonic() + SECONDS_FOR_LOCKS
    while register(services)[0][1] is None and time.monotonic() < until:
        ingest(run_of(services, "next"))
    zone = services.landing(PIPELINE)
    (item,) = zone.list(folder)
    return f"{zone.location(folder)}/{item.key}"
