"""Event files from the landing zone to published silver, with everything that can be wrong."""

import gzip
import io
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_platform.ingestion.withdrawal import withdraw_file
from pipeline_platform.quality.conservation import gaps, imbalances
from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.samples.events import ACCESS_LOG, generate_events
from pipeline_platform.web_events.tables import PIPELINE
from tests.integration.web_events.event_files import (
    DAY,
    NOON,
    deliver,
    event,
    events,
    ingest,
    refine_requested,
    run_of,
    silver,
)


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def run(services):
    return run_of(services)


def leaks(services: Services) -> list[object]:
    with services.database.connection() as connection:
        return [
            *imbalances(connection, PIPELINE),
            *gaps(connection, PIPELINE, "landing_to_bronze", "bronze_to_silver"),
        ]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("events_1.ndjson", bytes),
        ("events_1.ndjson.gz", gzip.compress),
        ("events_1.ndjson.zst", lambda content: pa.compress(content, "zstd", asbytes=True)),
    ],
)
def test_events_come_plain_or_compressed(name, pack, services, run) -> None:
    deliver(services, name, pack(events(3)))
    ingest(run)
    refine_requested(run)
    assert silver(services, "event_id") == [("e0",), ("e1",), ("e2",)]


def test_firehose_delivers_objects_in_folders_without_line_ends(services, run) -> None:
    name = "2026/11/20/12/web-events-1-2026-11-20-12-00-03-0f8fad5b-d9cb-469f-a165-70867728950e"
    deliver(services, name, events(3).replace(b"\n", b""))
    ingest(run)
    refine_requested(run)
    assert silver(services, "event_id, source, line_number") == [
        ("e0", "firehose_events", 1),
        ("e1", "firehose_events", 2),
        ("e2", "firehose_events", 3),
    ]


@pytest.mark.parametrize(
    "folder",
    [
        "web-events/2024/01/15",
        "event_date=2024-01-15",
        "year=2024/month=01/day=15",
        "year=2024/month=01/day=15/user_id=u-7",
    ],
)
def test_folders_of_any_layout_are_read_and_say_nothing_of_the_day(folder, services, run) -> None:
    """The event's own time gives its day: folders may be by arrival, or wrong (X-15)."""
    deliver(services, f"{folder}/events_1.ndjson", events(2))
    ingest(run)
    refine_requested(run)
    assert silver(services, "event_id, event_date") == [("e0", DAY), ("e1", DAY)]


def test_the_same_name_in_two_folders_is_two_files(services, run) -> None:
    for number, folder in enumerate(("event_date=2024-01-15", "event_date=2024-01-16")):
        deliver(services, f"{folder}/events_1.ndjson", events(1, prefix=f"day{number}-"))
    ingest(run)
    refine_requested(run)
    assert silver(services, "event_id") == [("day0-0",), ("day1-0",)]


def test_a_file_of_an_unknown_source_is_refused(services, run) -> None:
    deliver(services, "mystery.bin", b"x")
    assert "No source mapping" in ingest(run)["mystery.bin"].reason


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty_file"),
        (b"\n\n\r\n", "empty_file"),
        (gzip.compress(events(1000), mtime=0)[:300], "truncated_gzip"),
        (b"not json\nat all\n", "nothing_readable"),
        (events(3).decode().encode("utf-16"), "wrong_encoding"),
    ],
)
def test_a_file_that_can_t_be_read_goes_to_quarantine_as_a_whole(
    content, rule, services, run
) -> None:
    deliver(services, "events_1.ndjson", content)
    deliver(services, "events_2.ndjson", events(1))
    outcomes = ingest(run)
    with services.database.connection() as connection:
        rules = connection.execute("SELECT rule FROM quarantined_files").fetchall()
    assert rules == [(rule,)]
    assert outcomes["events_2.ndjson"].status == "published"


BAD_LINES = {
    "invalid_json": b'{"event_id": \n',
    "missing_time": b'{"event_id": "x"}\n',
    "too_old": event("old", NOON.replace(year=1970)),
    "in_the_future": event("new", NOON.replace(year=2099)),
    "nul_character": b'{"event_id": "\x00"}\n',
    "undecodable": b'{"event_id": "\xff"}\n',
    "nested_too_deep": b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"\n",
    "line_too_long": b'{"a": "' + b"x" * 50_000_000 + b'"}\n',
}


def test_bad_records_stay_aside_and_the_rest_goes_on(services, run) -> None:
    deliver(services, "events_1.ndjson", b"".join([*BAD_LINES.values(), events(2)]))
    outcome = ingest(run)["events_1.ndjson"]
    with services.database.connection() as connection:
        held = {one.row.rule: one.row.line_number for one in list_rows(connection, PIPELINE)}
    assert held == {rule: line for line, rule in enumerate(BAD_LINES, start=1)}
    assert (outcome.published_rows, outcome.quarantined_rows) == (2, len(BAD_LINES))
    assert leaks(services) == []


def test_the_same_file_again_adds_nothing(services, run) -> None:
    deliver(services, "events_1.ndjson", events(2))
    ingest(run)
    refine_requested(run)
    deliver(services, "events_again.ndjson", events(2))
    assert ingest(run)["events_again.ndjson"].status == "duplicate"


def test_copies_in_other_files_and_days_count_once(services, run) -> None:
    deliver(services, "events_1.ndjson", events(2))
    ingest(run)
    refine_requested(run)
    later = run_of(services, "later", run.now() + timedelta(hours=1))
    moved = event("e1", NOON + timedelta(days=1))
    deliver(services, "events_2.ndjson", events(3) + moved, arrived_at=later.now())
    ingest(later)
    refine_requested(later)
    assert silver(services, "event_id, file_name") == [
        ("e0", "events_1.ndjson"),
        ("e1", "events_1.ndjson"),
        ("e2", "events_2.ndjson"),
    ]
    assert leaks(services) == []


def test_a_late_event_goes_to_its_own_day(services, run) -> None:
    deliver(services, "events_1.ndjson", event("late", NOON - timedelta(days=30)))
    outcome = ingest(run)["events_1.ndjson"]
    refine_requested(run)
    assert outcome.partitions == (str(DAY - timedelta(days=30)),)
    assert silver(services, "event_date, is_late") == [(DAY - timedelta(days=30), True)]


def test_a_withdrawn_file_gives_its_rows_back_to_the_copies(services, run) -> None:
    deliver(services, "events_1.ndjson", event("e"))
    first = ingest(run)["events_1.ndjson"]
    refine_requested(run)
    later = run_of(services, "later", run.now() + timedelta(hours=1))
    deliver(
        services, "events_2.ndjson", event("e", NOON + timedelta(days=1)), arrived_at=later.now()
    )
    ingest(later)
    refine_requested(later)
    withdraw_file(EventFiles(later), first.sha256, "wrong clock")
    refine_requested(run_of(services, "last"))
    assert silver(services, "event_date, file_name") == [
        (DAY + timedelta(days=1), "events_2.ndjson")
    ]


def test_the_days_of_a_file_complete_it(services, run) -> None:
    deliver(services, "events_1.ndjson", events(2) + event("x", NOON - timedelta(days=9)))
    ingest(run)
    refine_requested(run)
    with services.database.connection() as connection:
        statuses = connection.execute("SELECT status FROM etl_processing_log").fetchall()
    assert statuses == [("COMPLETED",)]


def test_working_on_days_again_changes_nothing(services, run) -> None:
    made = generate_events(DAY, days=2, visitors=8)
    for name, content in made.files:
        deliver(services, name, content)
    ingest(run)
    refine_requested(run)
    before = Counter(silver(services))
    from tests.integration.web_events.event_files import refine

    refine(run_of(services, "again"), [DAY, DAY - timedelta(days=1), DAY - timedelta(days=2)])
    assert Counter(silver(services)) == before


def test_the_ledger_of_the_sample_is_what_came_of_it(services, run) -> None:
    made = generate_events(DAY, days=3, visitors=10)
    for number, (name, content) in enumerate(made.files):
        deliver(services, name, content, arrived_at=run.now() + timedelta(seconds=number))
    ingest(run)
    refined = refine_requested(run)
    with services.database.connection() as connection:
        held = {
            (one.row.rule, one.row.file_name, one.row.line_number)
            for one in list_rows(connection, PIPELINE, limit=None)
        }
    expected = Counter(fault.expected for fault in made.faults)
    assert held == {
        (fault.kind, fault.file_name, fault.line_number)
        for fault in made.faults
        if fault.expected == "quarantined"
    }
    assert (
        sum(entry.deduplicated for one in refined for entry in one.ledger)
        == (expected["deduplicated"])
    )
    assert len(silver(services, "event_id")) == made.event_count
    assert leaks(services) == []


@pytest.fixture(scope="module")
def real(new_database, tmp_path_factory):
    """The shipped access log, loaded end to end."""
    from tests.assets.platform_runs import settings_at

    with Services(settings_at(tmp_path_factory.mktemp("real"), new_database())) as services:
        deliver(services, ACCESS_LOG.name, ACCESS_LOG.read_bytes())
        run = run_of(services)
        outcome = ingest(run)[ACCESS_LOG.name]
        refine_requested(run)
        yield services, outcome


def lines_of(log: Path) -> list[bytes]:
    with gzip.open(log) as opened:
        return io.BytesIO(opened.read()).readlines()


def test_all_lines_but_the_malformed_one_are_events(real) -> None:
    services, outcome = real
    assert (outcome.published_rows, outcome.quarantined_rows) == (9999, 1)
    assert len(silver(services, "event_id")) == 9999


def test_a_real_log_has_the_figures_that_counting_its_fields_gives(real) -> None:
    """The second count knows nothing of formats: it splits each line at blanks."""
    services, _ = real
    fields = [line.split(b" ") for line in lines_of(ACCESS_LOG) if line.endswith(b'"\n')]
    counted = (
        len(fields),
        len({one[0] for one in fields}),
        sum(int(one[9]) for one in fields if one[9] != b"-"),
        Counter(int(one[8]) for one in fields),
    )
    with services.connect() as engine:
        from pipeline_platform.web_events.tables import WEB_EVENTS

        rows = services.lake.relation(engine, WEB_EVENTS)
        ((count, addresses, total),) = rows.aggregate(
            "count(*), count(DISTINCT client_address), sum(response_bytes)"
        ).fetchall()
        codes = Counter(dict(rows.aggregate("status_code, count(*)", "status_code").fetchall()))
    assert (count, addresses, total, codes) == counted
