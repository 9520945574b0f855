"""SIGKILL while a file is withdrawn from bronze or read anew, at random lines, and again."""

import multiprocessing
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import pipeline_platform
from pipeline_platform.failures import NotFoundError
from pipeline_platform.ingestion.withdrawal import read_anew, withdraw_file
from pipeline_platform.quality.conservation import imbalances
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS
from tests.assets.platform_runs import settings_at
from tests.faults.lines import counted_lines
from tests.integration.web_events.event_files import deliver, events, ingest, run_of

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"])
FOLDER = str(Path(pipeline_platform.__file__).parent)
KILLS = 2
WORKS = {
    "withdrawal": lambda intake, sha256: withdraw_file(intake, sha256, "wrong clock"),
    "reading anew": read_anew,
}


def work_on(work: str, home: Path, url: str, sha256: str, kill_at: int | None, lines: Any) -> None:
    with Services(settings_at(home, url)) as services:
        intake = EventFiles(run_of(services, "killed"))
        with counted_lines(FOLDER, kill_at=kill_at) as counted:
            WORKS[work](intake, sha256)
    lines.value = counted.count


def run_child(work: str, home: Path, url: str, sha256: str, kill_at: int | None = None):
    lines = PROCESSES.Value("i", 0)
    child = PROCESSES.Process(target=work_on, args=(work, home, url, sha256, kill_at, lines))
    child.start()
    child.join(120)
    return child.exitcode, lines.value


def prepare(home: Path, url: str) -> str:
    """Publish two files, and return the hash of the first."""
    with Services(settings_at(home, url)) as services:
        for number in (1, 2):
            deliver(services, f"events_{number}.ndjson", events(20, prefix=f"{number}-"))
        return ingest(run_of(services))["events_1.ndjson"].sha256


def end_state(services: Services) -> Mapping[str, object]:
    zone = services.landing(PIPELINE)
    with services.connect() as engine, services.database.connection() as connection:
        rows = services.lake.relation(engine, RAW_EVENTS)
        return {
            "rows": sorted(rows.project("event_id, file_name").fetchall()),
            "register": connection.execute(
                "SELECT file_name, status, records_processed FROM etl_processing_log ORDER BY 1"
            ).fetchall(),
            "held": connection.execute("SELECT rule, state FROM quarantined_files").fetchall(),
            "imbalances": imbalances(connection, PIPELINE),
            "left": zone.list("processing"),
            "quarantine": [item.key for item in zone.list("quarantine")],
        }


@pytest.mark.parametrize("work", WORKS)
def test_killed_and_repeated_it_ends_as_if_undisturbed(work, new_database, tmp_path) -> None:
    quiet, killed = (tmp_path / "quiet", new_database()), (tmp_path / "killed", new_database())
    sha256 = prepare(*quiet)
    exit_code, lines = run_child(work, *quiet, sha256)
    assert (exit_code, lines > 0) == (0, True)
    prepare(*killed)
    moments = random.Random(20261125)
    ended = [run_child(work, *killed, sha256, moments.randint(1, lines))[0] for _ in range(KILLS)]
    assert -signal.SIGKILL in ended
    with Services(settings_at(*killed)) as services:
        ingest(run_of(services, "next"))
        try:
            WORKS[work](EventFiles(run_of(services, "last")), sha256)
        except NotFoundError:
            assert work == "withdrawal"  # one that was killed had recorded it, and is done
        with Services(settings_at(*quiet)) as undisturbed:
            assert end_state(services) == end_state(undisturbed)
