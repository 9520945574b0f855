"""Bad files beside a good one, in one call: each has its reason, and the good one is published."""

import gzip
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance.ingestion import FileOutcome, ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext, shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.advisory_performance.tables import DELIVERED_FIELDS, PIPELINE, VENDOR_ROWS
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

COLUMNS = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency"
)
GOOD = f"{COLUMNS}\r\nA1,2024-10-30,1000.00,,,,,USD\r\nA1,2024-10-31,1010.00,,,0.01,daily,USD\r\n"
ROW = "A2,2024-10-31,1000.00,,,,,USD"
LATIN = f"{COLUMNS}\r\n{ROW}".replace("A2", "Ä2")
CUT_OFF = gzip.compress(os.urandom(4000))[:2000]
RAGGED = f"{COLUMNS}\r\n{ROW},too,many\r\nA4,2024-10-31\r\n{ROW}\r\n"
FUTURE = f"{COLUMNS}\r\nA5,2999-01-01,1.00,,,,,USD\r\n{ROW}\r\n \r\n"
HUGE = "standard_huge.csv"
HUGE_BYTES = 100 * 2**20
GROWING_BYTES = 24 * 2**20
MEMORY_FOR_A_HUGE_LINE = 64 * 2**20
HOSTILE = (
    "'; DROP TABLE performance_data; --",
    '=HYPERLINK("http://example.com","x")',
    "<script>alert(1)</script>",
    "\u202egpj.exe",
    "nul\x00inside",
    "\U0001f4b8\U00020bb7",
    "../../etc/passwd",
    "%s %(name)s {0} ${HOME}",
)


def fixed_width_sample() -> bytes:
    request = SampleRequest(accounts=1, days=3, end=datetime(2024, 10, 31, tzinfo=UTC).date())
    made = generate_arrivals(request, dict(shipped_mappings()))
    return next(one.content for one in made.files if one.vendor == "meridian")


def without_second_line(content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join([lines[0], *lines[2:]])


def hostile_rows() -> str:
    """One row per string and field: the string stands in that field alone, quoted."""
    lines = []
    for number, text in enumerate(HOSTILE):
        quoted = '"' + text.replace('"', '""') + '"'
        for place in range(len(COLUMNS.split(","))):
            cells = [f"H{number}{place}", "2024-10-31", "1000.00", "", "", "", "", "USD"]
            cells[place] = quoted
            lines.append(",".join(cells))
    return "\r\n".join([COLUMNS, *lines, ""])


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "standard_empty.csv": (b"", "empty_file"),
    "standard_blank.csv": (b"\n\n\n", "empty_file"),
    "standard_header_only.csv": (f"{COLUMNS}\r\n".encode(), "header_only"),
    "standard_latin.csv": (LATIN.encode("latin-1"), "wrong_encoding"),
    "standard_utf16.csv": (GOOD.encode("utf-16"), "wrong_encoding"),
    "standard_twice.csv": (f"{COLUMNS},currency\r\n{ROW},USD\r\n".encode(), "duplicate_header"),
    "standard_lacking.csv": (b"account_id,as_of_date\r\nA2,2024-10-31\r\n", "missing_column"),
    "standard_new.csv": (f"{COLUMNS},mood\r\n{ROW},fine\r\n".encode(), "unknown_column"),
    "standard_zipped.csv": (gzip.compress(GOOD.encode()), "unexpected_compression"),
    "MERIDIAN.PERF.D20241031.txt": (without_second_line(fixed_width_sample()), "trailer_mismatch"),
    "harbor-performance-2024-10-31.jsonl.gz": (CUT_OFF, "truncated_gzip"),
    "harbor-performance-2024-10-30.jsonl.gz": (b'{"kind": "position"}\n', "not_gzip"),
    "unheard_of.csv": (GOOD.encode() + b"\r\n", "unknown_vendor"),
}  # fmt: skip
"""Files that can't be read at all, and the rule that says why."""


@dataclass(frozen=True)
class Arrived:
    """The platform after one call of `ingest_arrivals` on everything."""

    services: Services
    outcomes: list[FileOutcome]
    highest_memory: int

    def outcome(self, name: str) -> list[str]:
        return sorted(one.status for one in self.outcomes if one.name == name)

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.services.database.connection() as connection:
            return connection.execute(query.encode(), values).fetchall()


def resident_peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def memory_used_by(work) -> int:
    """Return by how much the process grew at most; 0 where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident_peak()
    except OSError:
        work()
        return 0
    work()
    return resident_peak() - before


@pytest.fixture(scope="module")
def arrived(new_database, tmp_path_factory) -> Iterator[Arrived]:
    home = tmp_path_factory.mktemp("bad_arrivals")
    settings = Settings(home=home, environment="test", database_url=SecretStr(new_database()))
    incoming = Path(settings.raw_location) / PIPELINE / "incoming"
    incoming.mkdir(parents=True)
    files = {
        "standard_good.csv": GOOD.encode(),
        "standard_same_again.csv": GOOD.encode(),
        "standard_bom.csv": b"\xef\xbb\xbf" + GOOD.replace("A1", "A3").encode(),
        "standard_ragged.csv": RAGGED.encode(),
        "standard_future.csv": FUTURE.encode(),
        "standard_hostile.csv": hostile_rows().encode(),
        **{name: content for name, (content, _) in BAD_FILES.items()},
    }
    for name, content in files.items():
        (incoming / name).write_bytes(content)
    outside = home / "secret.csv"
    outside.write_bytes(GOOD.encode())
    (incoming / "standard_link.csv").symlink_to(outside)
    with (incoming / HUGE).open("wb") as sparse:
        sparse.write(COLUMNS.encode() + b"\r\n")
        sparse.truncate(HUGE_BYTES)
    with Services(settings) as services:
        outcomes: list[FileOutcome] = []
        run = RunContext(services, "bad arrivals")
        keys = sorted(one.key for one in services.landing(PIPELINE).list("incoming"))
        small = [key for key in keys if key != HUGE]
        outcomes += ingest_arrivals(run, [*small, "../../secret.csv", "/etc/passwd"])
        memory = memory_used_by(lambda: outcomes.extend(ingest_arrivals(run, [HUGE])))
        yield Arrived(services, outcomes, memory)


def test_the_good_file_is_published(arrived: Arrived) -> None:
    assert arrived.outcome("standard_good.csv") == ["published"]


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unreadable_file_is_quarantined_by_its_rule(name: str, arrived: Arrived) -> None:
    found = arrived.rows("SELECT rule FROM quarantined_files WHERE file_name = %s", name)
    assert found == [(BAD_FILES[name][1],)]


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unreadable_file_has_one_sentence_that_names_it(name: str, arrived: Arrived) -> None:
    (outcome,) = [one for one in arrived.outcomes if one.name == name]
    assert (name in outcome.reason, outcome.reason.endswith(".")) == (True, True)


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unreadable_file_lies_in_quarantine_with_its_reason_beside(
    name: str, arrived: Arrived
) -> None:
    ((location,),) = arrived.rows(
        "SELECT location FROM etl_processing_log WHERE file_name = %s", name
    )
    beside = [Path(location), Path(f"{location}.reason.txt")]
    assert [path.is_file() for path in beside] == [True, True]


def test_a_byte_order_mark_does_no_harm(arrived: Arrived) -> None:
    assert arrived.outcome("standard_bom.csv") == ["published"]


def test_ragged_rows_are_held_back_one_by_one(arrived: Arrived) -> None:
    found = arrived.rows(
        "SELECT line_number, rule FROM quarantined_rows WHERE file_name = 'standard_ragged.csv'"
        " ORDER BY line_number"
    )
    assert [line for line, _ in found] == [2, 3]


def test_a_future_date_is_held_back_and_the_rest_published(arrived: Arrived) -> None:
    (outcome,) = [one for one in arrived.outcomes if one.name == "standard_future.csv"]
    assert (outcome.status, outcome.published_rows, outcome.quarantined_rows) == ("published", 1, 1)


def test_the_same_content_is_loaded_once(arrived: Arrived) -> None:
    names = ("standard_good.csv", "standard_same_again.csv")
    assert [arrived.outcome(name) for name in names] == [["published"], ["duplicate"]]


def test_a_line_without_end_is_refused_by_its_rule(arrived: Arrived) -> None:
    found = arrived.rows("SELECT rule FROM quarantined_files WHERE file_name = %s", HUGE)
    assert found == [("line_too_long",)]


def test_a_line_without_end_takes_little_memory(arrived: Arrived) -> None:
    assert arrived.highest_memory < MEMORY_FOR_A_HUGE_LINE


@pytest.mark.parametrize("key", ["../../secret.csv", "/etc/passwd"])
def test_a_key_that_leaves_the_zone_is_refused(key: str, arrived: Arrived) -> None:
    assert arrived.outcome(key) == ["refused"]


def test_a_link_out_of_the_zone_is_quarantined(arrived: Arrived) -> None:
    assert arrived.outcome("standard_link.csv") == ["quarantined"]


def test_what_a_key_outside_of_the_zone_named_is_left_alone(arrived: Arrived) -> None:
    assert (arrived.services.settings.home / "secret.csv").read_bytes() == GOOD.encode()


def test_every_unsafe_key_is_an_issue(arrived: Arrived) -> None:
    found = arrived.rows("SELECT count(*) FROM data_quality_issues WHERE rule = 'unsafe_name'")
    assert found == [(3,)]


def test_hostile_strings_end_verbatim_in_bronze_or_with_a_reason_in_quarantine(
    arrived: Arrived,
) -> None:
    with arrived.services.connect() as engine:
        bronze = (
            arrived.services.lake.relation(engine, VENDOR_ROWS)
            .filter("file_name = 'standard_hostile.csv'")
            .project(f"line_number, [{', '.join(DELIVERED_FIELDS)}]")
            .fetchall()
        )
    kept = {line for line, cells in bronze if any(cell in HOSTILE for cell in cells)}
    held = {
        line
        for (line,) in arrived.rows(
            "SELECT line_number FROM quarantined_rows"
            " WHERE file_name = 'standard_hostile.csv' AND reason <> ''"
        )
    }
    lines = set(range(2, 2 + len(HOSTILE) * len(COLUMNS.split(","))))
    assert (lines - kept - held, kept & held) == (set(), set())


def test_hostile_strings_harm_no_table(arrived: Arrived) -> None:
    assert arrived.rows("SELECT count(*) FROM performance_data") == [(0,)]


def test_nothing_remains_in_incoming_or_processing(arrived: Arrived) -> None:
    zone = arrived.services.landing(PIPELINE)
    assert [*zone.list("incoming"), *zone.list("processing")] == []


@dataclass(frozen=True)
class Growing:
    """A file that its sender still wrote when it was claimed, beside a good one."""

    services: Services
    while_growing: list[FileOutcome]
    waiting: list[str]
    afterwards: list[FileOutcome]


@pytest.fixture(scope="module")
def growing(new_database, tmp_path_factory) -> Iterator[Growing]:
    home = tmp_path_factory.mktemp("growing")
    settings = Settings(home=home, environment="test", database_url=SecretStr(new_database()))
    incoming = Path(settings.raw_location) / PIPELINE / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "standard_good.csv").write_bytes(GOOD.encode())
    path = incoming / "standard_growing.csv"
    path.write_bytes(f"{COLUMNS}\r\n".encode() + f"{ROW}\r\n".encode() * (GROWING_BYTES // 32))
    is_over, has_begun = threading.Event(), threading.Event()

    def append() -> None:
        with path.open("ab") as file:
            while not is_over.is_set():
                file.write(f"{ROW}\r\n".encode())
                file.flush()
                has_begun.set()
                is_over.wait(0.001)

    writer = threading.Thread(target=append)
    with Services(settings) as services:
        run = RunContext(services, "growing")
        writer.start()
        has_begun.wait(10)
        while_growing = list(ingest_arrivals(run, ["standard_growing.csv", "standard_good.csv"]))
        waiting = [one.key for one in services.landing(PIPELINE).list("incoming")]
        is_over.set()
        writer.join()
        path.write_bytes(f"{COLUMNS}\r\n{ROW}\r\n".encode()) if path.exists() else None
        yield Growing(services, while_growing, waiting, list(ingest_arrivals(run)))


def test_a_file_that_changes_while_it_is_read_is_left_waiting(growing: Growing) -> None:
    found = {one.name: one.status for one in growing.while_growing}
    assert found == {"standard_growing.csv": "left_waiting", "standard_good.csv": "published"}


def test_a_file_that_changes_stays_where_its_sender_writes_it(growing: Growing) -> None:
    assert growing.waiting == ["standard_growing.csv"]


def test_once_its_sender_is_done_the_file_is_published(growing: Growing) -> None:
    assert [(one.name, one.status) for one in growing.afterwards] == [
        ("standard_growing.csv", "published")
    ]
