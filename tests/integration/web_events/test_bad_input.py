"""Hostile or odd input at the real intake: a reason in quarantine, or an event as usual."""

import gzip
import json
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.services import Services
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS
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

MEGABYTE = 1_000_000
LOG_LINE = b'192.0.2.1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 512 "-" "Mozilla"\n'


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def run(services):
    return run_of(services)


def held(services: Services) -> dict[int, str]:
    with services.database.connection() as connection:
        rows = list_rows(connection, PIPELINE, limit=None)
    return {one.row.line_number: one.row.rule for one in rows}


@pytest.mark.parametrize(
    ("pack", "rule"),
    [
        (gzip.compress, "truncated_gzip"),
        (lambda content: pa.compress(content, "zstd", asbytes=True), "truncated_zstd"),
    ],
)
def test_of_a_stream_that_is_cut_off_nothing_counts_however_late(pack, rule, services, run) -> None:
    """Its first megabytes have been written by the time that its end is missed."""
    packed = pack(events(50_000))
    deliver(services, "events_1.ndjson", packed[: len(packed) * 9 // 10])
    deliver(services, "events_2.ndjson", events(1))
    outcomes = ingest(run)
    with services.database.connection() as connection:
        found = connection.execute("SELECT rule, reason FROM quarantined_files").fetchall()
    assert [one[0] for one in found] == [rule]
    assert "is cut off" in found[0][1]
    assert (outcomes["events_2.ndjson"].status, services.lake.partitions(RAW_EVENTS)) == (
        "published",
        {DAY: 1},
    )


def peak_bytes() -> int:
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": "' + b"x" * 50 * MEGABYTE + b'"}\n',
        b"{" * 50 * MEGABYTE + b"\n",
        b'{"a":1}{"b":"' + b"\\" * 50 * MEGABYTE + b'"}\n',
        b"\xff" * 50 * MEGABYTE + b"\n",
    ],
    ids=["text", "braces", "backslashes", "no text"],
)
def test_a_line_of_fifty_megabytes_takes_neither_time_nor_memory(line, services, run) -> None:
    deliver(services, "events_1.ndjson", event("first") + line + event("last"))
    ingest(run_of(services, "warm"), keys=[])
    Path("/proc/self/clear_refs").write_text("5")
    memory, seconds = peak_bytes(), time.process_time()
    outcome = ingest(run)["events_1.ndjson"]
    assert (peak_bytes() - memory < 150 * MEGABYTE, time.process_time() - seconds < 5) == (
        True,
        True,
    )
    assert (outcome.published_rows, set(held(services).values()) >= {"line_too_long"}) == (2, True)


def test_a_log_s_bad_lines_stay_aside_and_the_rest_goes_on(services, run) -> None:
    bad = [
        LOG_LINE.replace(b"GET /", b"GET /\x00"),
        LOG_LINE.replace(b"GET /", b"GET /\xff"),
        LOG_LINE.replace(b"2026", b"1970"),
        LOG_LINE.replace(b"2026", b"2099"),
        LOG_LINE.replace(b"GET /", b"GET /" + b"x" * 2 * MEGABYTE),
        LOG_LINE[:40] + b"\n",
    ]
    deliver(services, "access.log", b"".join([LOG_LINE, *bad, LOG_LINE]))
    outcome = ingest(run)["access.log"]
    assert (outcome.published_rows, held(services)) == (
        2,
        {
            2: "nul_character",
            3: "undecodable",
            4: "too_old",
            5: "in_the_future",
            6: "line_too_long",
            7: "not_log_format",
        },
    )


def test_numbers_as_strings_are_numbers(services, run) -> None:
    written = {"value": "12.50", "currency": "EUR", "status_code": "404", "response_bytes": "512"}
    deliver(services, "events_1.ndjson", event("e", **written))
    ingest(run)
    refine_requested(run)
    assert silver(services, "value, status_code, response_bytes") == [(Decimal("12.5"), 404, 512)]


def test_an_event_type_never_seen_is_an_event(services, run) -> None:
    deliver(services, "events_1.ndjson", event("e", event_type="teleport"))
    ingest(run)
    refine_requested(run)
    assert silver(services, "event_type, score_deductions->>'unknown_event_type' IS NOT NULL") == [
        ("teleport", True)
    ]


def test_ten_thousand_new_keys_are_properties_and_no_columns(services, run) -> None:
    """Half of them in one event, the others each in an event of its own."""
    many = {f"key_{number}": number for number in range(5000)}
    others = b"".join(
        event(f"e{number}", NOON + timedelta(seconds=number), **{f"key_{number}": number})
        for number in range(5000, 10_000)
    )
    deliver(services, "events_1.ndjson", event("many", **many) + others)
    ingest(run)
    refine_requested(run)
    kept: dict[str, int] = {}
    for (properties,) in silver(services, "properties"):
        kept |= json.loads(properties)
    assert kept == {f"key_{number}": number for number in range(10_000)}
    columns = services.lake.iceberg(WEB_EVENTS).schema().column_names
    assert columns == WEB_EVENTS.schema.names
