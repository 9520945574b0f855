"""SIGKILL at random points of reading a stream, then a restart: each record once, as undisturbed.

A child process reads a stream (over HTTP) to bronze. It is killed at a random line of the
platform's code, wherever that is between reading, staging, publishing, recording and archiving;
meanwhile more records come and a shard is split. The last start runs to its end.
"""

import json
import multiprocessing
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import pipeline_platform
from pipeline_platform.failures import ConflictError
from pipeline_platform.ingestion.files import ingest_arrivals
from pipeline_platform.ingestion.stream_batches import consume
from pipeline_platform.quality.conservation import imbalances
from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.streams.reading import Limits
from tests.faults.lines import counted_lines
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.streams.sample_intake import CLICKS, clicks_intake

STREAM = "clicks"
LIMITS = Limits(max_records=20, max_bytes=10_000_000, max_seconds=5)
FOLDER = str(Path(pipeline_platform.__file__).parent)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.test_stream_killed", "pyiceberg.catalog.sql"])
KILLS_PER_SEED = 4


@dataclass(frozen=True)
class Place:
    """What a child process must know."""

    home: str
    database_url: str
    kinesis_endpoint: str

    def settings(self) -> Settings:
        return Settings(
            home=Path(self.home),
            environment="test",
            database_url=SecretStr(self.database_url),
            kinesis_endpoint=self.kinesis_endpoint,
            threads=1,
        )


def read_stream(place: Place, kill_at_line: int | None, lines: Any = None) -> None:
    """Read until the stream is caught up; kill this process at a line, or count the lines."""
    os.environ.update(MADE_UP_CREDENTIALS)
    with Services(place.settings()) as services:
        services.lake.ensure(CLICKS)
        intake = clicks_intake(services, f"run-{os.getpid()}")
        with counted_lines(FOLDER, kill_at=kill_at_line) as counted:
            list(consume(intake, KinesisReader(services.settings, STREAM), LIMITS, max_batches=100))
    if lines is not None:
        lines.value = counted.count


def run_child(place: Place, kill_at_line: int | None = None, lines: Any = None) -> int | None:
    child = CONTEXT.Process(target=read_stream, args=(place, kill_at_line, lines))
    child.start()
    child.join(120)
    return child.exitcode


def put(kinesis: LocalKinesis, first: int, count: int) -> None:
    for number in range(first, first + count):
        event = {"id": str(number), "day": f"2026-10-{1 + number % 3:02}"}
        kinesis.put(b"bad" if number % 10 == 9 else json.dumps(event).encode(), key=str(number))


def end_state(place: Place) -> dict[str, Any]:
    """Return rows, what is held, and what of landing zone, register and ledger disagrees."""
    with Services(place.settings()) as services, services.connect() as con:
        try:
            list(ingest_arrivals(clicks_intake(services, "recover")))
        except ConflictError as error:
            raise AssertionError("A killed run's locks are still held.") from error
        rows = services.lake.relation(con, CLICKS).project("id").fetchall()
        zone = services.landing("clicks")
        with services.database.connection() as connection:
            registered = connection.execute(
                "SELECT file_name FROM etl_processing_log"
                " WHERE status IN ('PUBLISHED', 'COMPLETED')"
            ).fetchall()
            accounted = connection.execute(
                "SELECT sum(published), sum(quarantined) FROM conservation_ledger"
            ).fetchone()
            return {
                "ids": sorted(int(text) for (text,) in rows),
                "held": len(list_rows(connection, "clicks", limit=None)),
                "accounted": accounted,
                "imbalances": imbalances(connection, "clicks"),
                "left": [item.key for item in zone.list("processing")],
                "unarchived": {name for (name,) in registered}
                ^ {item.key.split("/", 2)[2] for item in zone.list("archive")},
            }


@pytest.fixture
def kinesis():
    with LocalKinesis(STREAM, shards=2) as server:
        yield server


def place_for(kinesis: LocalKinesis, home: Path, url: str) -> Place:
    return Place(str(home), url, kinesis.address)


@pytest.fixture(scope="module")
def lines_of_an_undisturbed_run(new_database, tmp_path_factory) -> int:
    with LocalKinesis(STREAM, shards=2) as server:
        put(server, 0, 30)
        lines = CONTEXT.Value("i", 0)
        place = place_for(server, tmp_path_factory.mktemp("undisturbed"), new_database())
        assert run_child(place, lines=lines) == 0
        return int(lines.value)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_lines_then_restarted_each_record_is_there_once(
    seed, kinesis, database_url, tmp_path, lines_of_an_undisturbed_run
):
    chance = random.Random(seed)
    place = place_for(kinesis, tmp_path, database_url)
    sent = kills = 0
    while kills < KILLS_PER_SEED:
        put(kinesis, sent, 30)
        sent += 30
        at_line = chance.randint(1, lines_of_an_undisturbed_run)
        kills += run_child(place, kill_at_line=at_line) == -signal.SIGKILL
        if kills == 2:
            kinesis.split(next(s.name for s in kinesis.shards.values() if s.closed_at is None))
    assert run_child(place) == 0
    good = [number for number in range(sent) if number % 10 != 9]
    assert end_state(place) == {
        "ids": good,
        "held": sent - len(good),
        "accounted": (len(good), sent - len(good)),
        "imbalances": [],
        "left": [],
        "unarchived": set(),
    }
