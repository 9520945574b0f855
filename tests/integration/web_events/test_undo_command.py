"""`undo RUN` holds lake, PostgreSQL, position and landing folder together (B-5).

One run took in a file and a stream, and refined their day. After it was undone all four are, to the
last column, what they were before it; what waited for it waits again.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import Result

from pipeline_platform.ingestion.stream_batches import consume
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, TABLES
from tests.assets.content import comparable
from tests.integration.commands.conftest import Shell
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.web_events.event_files import (
    DAY,
    deliver,
    event,
    events,
    ingest,
    refine_requested,
)

STREAM, RUN = "web-events", "second-run"
CONTROL = ("etl_processing_log", "conservation_ledger", "quarantined_rows", "quarantined_files")
ASKED_ANEW = ("partition_versions",)
"""The day is asked for again, so files wait for a newer request."""
State = Mapping[str, Counter[Any]]


def take_in(services: Services, run_id: str) -> None:
    """Take in every file and the stream, and refine what they touched, all as one run."""
    run = RunContext(services, run_id)
    ingest(run)
    reader = KinesisReader(services.settings, STREAM)
    list(consume(EventFiles(run), reader, run.runbook.rulings.stream.limits, max_batches=10))
    refine_requested(run)


def state(services: Services) -> State:
    """Return every row of the lake and of the register, the position, and every landed byte."""
    found: dict[str, Counter[Any]] = {}
    with services.connect() as engine, services.database.connection() as connection:
        for table in TABLES:
            rows = services.lake.relation(engine, table).project(comparable(table))
            found[f"lake: {table.name}"] = Counter(rows.fetchall())
        for name in CONTROL:
            query = f"SELECT (to_jsonb(one) - %s::text[])::text FROM {name} AS one"
            rows = connection.execute(query.encode(), [list(ASKED_ANEW)]).fetchall()
            found[f"postgres: {name}"] = Counter(text for (text,) in rows)
    position = Committed.parse(services.lake.property(RAW_EVENTS, property_name(STREAM)))
    found["position"] = Counter(position.positions.items())
    root = Path(services.settings.raw_location) / PIPELINE
    found["landing"] = Counter(
        (str(path.relative_to(root)), sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    )
    return found


@dataclass
class Told:
    """What a platform held before and after the run, and what the commands said and left."""

    before: State
    after: State
    preview: Any
    previewed: State
    undone: Result
    left: State
    again: Result
    left_again: State

    @property
    def changed(self) -> set[str]:
        """What the run had changed."""
        return {name for name in self.before if self.before[name] != self.after[name]}


@pytest.fixture(scope="module")
def told(new_database: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    home, url = tmp_path_factory.mktemp("undo") / "home", new_database()
    shell = Shell(home, url)
    with pytest.MonkeyPatch.context() as patch, LocalKinesis(STREAM) as kinesis:
        for name, value in MADE_UP_CREDENTIALS.items():
            patch.setenv(name, value)
        settings = Settings(
            home=home,
            environment="test",
            database_url=SecretStr(url),
            kinesis_endpoint=kinesis.address,
        )
        with Services(settings) as services:
            deliver(services, "events_1.ndjson", events(20))
            kinesis.put(event("from-stream-1"))
            take_in(services, "first-run")
            deliver(services, "events_2.ndjson", events(8) + events(6, prefix="new-") + b"bad\n")
            deliver(services, "events_3.ndjson", b"nothing readable\n")
            kinesis.put(event("from-stream-2"))
            kinesis.put(b"no json")
            before = state(services)
            take_in(services, RUN)
            after = state(services)
            options = ("undo", RUN, "--back-to", "source")

            preview = json.loads(shell(*options, "--json").stdout)
            previewed = state(services)
            shell("pipelines", "stop", "web", "--reason", "a wrong clock")
            undone = shell(*options, "--apply", "--reason", "a wrong clock")
            left = state(services)
            again = shell(*options, "--apply")
            yield Told(before, after, preview, previewed, undone, left, again, state(services))


def test_the_run_had_changed_all_four(told: Told) -> None:
    assert told.changed == told.before.keys()


def test_the_preview_says_which_rows_files_and_positions_move(told: Told) -> None:
    bronze = told.after["lake: raw_events"] - told.before["lake: raw_events"]
    (silver,) = told.preview["tables"]
    names = {one["file"].partition("/")[0]: one["goes to"] for one in told.preview["taken"]}
    found = (
        told.preview["bronze rows that go"],
        silver["rows now"] - silver["rows after"],
        told.preview["streams that go back"],
        names,
    )
    assert found == (
        bronze.total(),
        told.after["lake: web_events"].total() - told.before["lake: web_events"].total(),
        [STREAM],
        {"events_2.ndjson": "incoming", "events_3.ndjson": "incoming", "kinesis": "its stream"},
    )


def test_the_preview_changes_nothing(told: Told) -> None:
    assert told.previewed == told.after


@pytest.mark.parametrize("part", ["lake", "postgres", "position", "landing"])
def test_undone_each_is_what_it_was_before_the_run(told: Told, part: str) -> None:
    assert told.undone.exit_code == 0, told.undone.output
    names = [name for name in told.before if name.startswith(part)]
    differing = {
        name: (told.before[name] - told.left[name], told.left[name] - told.before[name])
        for name in names
        if told.before[name] != told.left[name]
    }
    assert (differing, names != []) == ({}, True)


def test_its_day_waits_again(told: Told) -> None:
    assert told.preview["partitions that wait again"] == [str(DAY)]


def test_a_second_undo_is_refused_and_changes_nothing(told: Told) -> None:
    found = (told.again.exit_code, f"Run {RUN} was undone at" in told.again.stderr)
    assert (*found, told.left_again == told.left) == (2, True, True)
