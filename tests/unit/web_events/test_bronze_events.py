"""Records on their way to bronze: id, instant and day, or the rule that keeps them out."""

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from pipeline_platform.web_events.bronze_events import Provenance, judged_records, rejected_line
from pipeline_platform.web_events.record_lines import LINES
from pipeline_platform.web_events.sources import JsonEvents, SourceMapping, load_mappings

SOURCES = load_mappings()
RECEIVED = datetime(2026, 11, 20, 12, tzinfo=UTC)


def judged(records: list[str], source: SourceMapping | None = None) -> list[dict[str, object]]:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        lines = engine.from_arrow(pa.table([range(1, len(records) + 1), records], schema=LINES))
        found = judged_records(
            engine,
            lines,
            source or SOURCES["standard_events"],
            Provenance("f.ndjson", "a" * 64, RECEIVED),
            max_future=timedelta(hours=1),
        )
        return found.order("line_number").to_arrow_table().to_pylist()


def event(time: object, **other: object) -> str:
    return __import__("json").dumps({"event_id": "e1", "event_time": time, **other})


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-11-20T10:00:00Z", "10:00:00"),
        ("2026-11-20T12:00:00+02:00", "10:00:00"),
        ("2026-11-20T12:00:00+0200", "10:00:00"),
        ("2026-11-20T10:00Z", "10:00:00"),
        ("20261120T100000Z", "10:00:00"),
        ("2026-11-20 10:00:00.123456", "10:00:00.123456"),
        ("2026-11-20T04:30:00-05:30", "10:00:00"),
        (1795168800000, "10:00:00"),
        ("1795168800123", "10:00:00.123000"),
    ],
)
def test_times_are_read_with_any_offset_and_as_numbers(written, instant) -> None:
    (row,) = judged([event(written)])
    assert (row["rule"], row["event_at"].isoformat()) == (None, f"2026-11-20T{instant}+00:00")


def with_times(*formats: str) -> SourceMapping:
    standard = SOURCES["standard_events"]
    layout = standard.format
    assert isinstance(layout, JsonEvents)
    return standard.model_copy(
        update={"format": layout.model_copy(update={"time_formats": list(formats)})}
    )


@pytest.mark.parametrize("number", [1795168800, 1795168800000, 1795168800000000])
def test_a_number_is_read_in_the_unit_that_makes_it_a_time_of_ours(number) -> None:
    (row,) = judged([event(number)], with_times("epoch_s", "epoch_ms", "epoch_us"))
    assert row["event_at"] == datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ('{"event_id": ', "invalid_json"),
        ('{"event_id": x}', "invalid_json"),
        ('{"event_time": "2026-11-20T10:00:00Z"}}', "invalid_json"),
        ("[1]", "invalid_json"),
        ("nonsense", "invalid_json"),
        ('{"event_id": "x"}', "missing_time"),
        ('{"event_id": "x", "event_time": null}', "missing_time"),
        (event("yesterday"), "unreadable_time"),
        (event("2026-11-20"), "unreadable_time"),
        (event("2026-02-30T00:00:00Z"), "unreadable_time"),
        (event("1970-01-01T00:00:00Z"), "too_old"),
        (event(0), "too_old"),
        (event("2099-12-31T23:59:59Z"), "in_the_future"),
        (event("2026-11-20T13:00:01Z"), "in_the_future"),
        (event("infinity infinity"), "unreadable_time"),
        (event("2026-11-20T10:00:00Z", event_id="x" * 257), "unusable_event_id"),
    ],
)
def test_a_record_stays_out_by_a_rule(record, rule) -> None:
    (row,) = judged([record])
    assert row["rule"] == rule


def test_an_invalid_record_spoils_none_beside_it() -> None:
    good, bad = event("2026-11-20T10:00:00Z"), '{"event_time" "2026-11-20T10:00:00Z"}'
    assert [row["rule"] for row in judged([good, bad, good])] == [None, "invalid_json", None]


def test_a_clock_may_be_ahead_a_little() -> None:
    assert judged([event("2026-11-20T13:00:00Z")])[0]["rule"] is None


def test_the_reason_names_the_time() -> None:
    reason = rejected_line(1, "unreadable_time", "yesterday", "{}").reason
    assert "'yesterday'" in reason


def test_an_event_without_id_is_known_by_its_content() -> None:
    record = '{"event_time": "2026-11-20T10:00:00Z", "n": 1}'
    first, second, other = judged([record, record, record.replace("1}", "2}")])
    assert first["event_id"] == second["event_id"] != other["event_id"]


LOG = '1.2.3.4 - - [20/Nov/2026:12:00:00 +0200] "GET / HTTP/1.1" 200 12 "-" "agent"'


def test_two_equal_lines_of_a_log_are_two_events() -> None:
    first, second = judged([LOG, LOG], SOURCES["combined_log"])
    assert first["event_id"] != second["event_id"]


def test_a_log_delivered_again_has_the_same_ids() -> None:
    once = judged([LOG, LOG], SOURCES["combined_log"])
    longer = judged(["x" + LOG, LOG, LOG], SOURCES["combined_log"])[1:]
    assert [row["event_id"] for row in once] == [row["event_id"] for row in longer]


def test_a_log_s_time_has_an_offset() -> None:
    (row,) = judged([LOG], SOURCES["combined_log"])
    assert row["event_at"] == datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("line", ["", "hello", LOG.replace('"agent"', '"agent'), LOG[10:]])
def test_a_line_of_another_format_stays_out(line) -> None:
    (row,) = judged([line], SOURCES["combined_log"])
    assert row["rule"] == "not_log_format"


def test_the_record_is_kept_as_delivered() -> None:
    record = event("2026-11-20T10:00:00Z", text="é {} ' \\ \u2028")
    assert judged([record])[0]["raw"] == record
