"""Quarantine in PostgreSQL: hold, settle, show, discard, forget."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.quality.quarantine import (
    Connection,
    QuarantinedRow,
    Settlement,
    State,
    discard_rows,
    list_rows,
    settle_rows,
    show_row,
)
from pipeline_platform.quality.quarantined_files import (
    HeldFile,
    hold_file,
    list_files,
    resolve_file,
    show_file,
)
from pipeline_platform.quality.replay import preview_replay
from pipeline_platform.quality.retention import remove_resolved
from pipeline_platform.settings import Settings
from tests.examples import examples

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
MONTH = "2026-10-01"


@pytest.fixture
def zone(settings: Settings) -> LandingZone:
    return LandingZone(settings, "p")


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


def _row(line: int, rule: str = "currency_is_a_code", **changes: object) -> QuarantinedRow:
    row = QuarantinedRow(
        pipeline="p",
        hop="h",
        file_sha256="ab" * 32,
        file_name="a.csv",
        vendor="standard",
        line_number=line,
        partition_key=MONTH,
        rule=rule,
        reason=f"currency: line {line}",
        column_name="currency",
        record='{"currency": "usd"}',
        run_id="run-1",
    )
    return replace(row, **changes)


def _settle(conn: Connection, rows: Sequence[QuarantinedRow], now: datetime = NOW) -> Settlement:
    return settle_rows(conn, "p", "h", rows, now=now, partitions=[MONTH])


def _states(conn: Connection) -> dict[int, State]:
    rows = list_rows(conn, "p", state=None, limit=None)
    return {one.row.line_number: one.state for one in rows}


def _count(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def test_a_rejected_record_is_held_as_it_was_given(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    assert [one.row for one in list_rows(conn, "p")] == [_row(1)]


def test_a_record_that_passes_now_is_replayed(conn: Connection) -> None:
    _settle(conn, [_row(1), _row(2)])
    _settle(conn, [_row(2)], LATER)
    assert _states(conn) == {1: "REPLAYED", 2: "HELD"}


def test_a_replayed_record_that_is_rejected_again_is_held_again(conn: Connection) -> None:
    for rows in ([_row(1)], [], [_row(1)]):
        _settle(conn, rows)
    assert _states(conn) == {1: "HELD"}


def test_settling_twice_changes_nothing(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    assert _settle(conn, [_row(1, run_id="run-2")], LATER) == Settlement(held=0, passed=0)


def test_another_reason_takes_the_place_of_the_first(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    _settle(conn, [_row(1, rule="currency_is_given", reason="none")])
    assert [one.row.rule for one in list_rows(conn, "p")] == ["currency_is_given"]


def test_other_partitions_are_left_alone(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    settle_rows(conn, "p", "h", [], now=NOW, partitions=["2026-09-01"])
    assert _states(conn) == {1: "HELD"}


def test_files_can_be_settled_instead_of_partitions(conn: Connection) -> None:
    other = _row(1, file_sha256="cd" * 32)
    settle_rows(conn, "p", "h", [_row(1), other], now=NOW, files=["ab" * 32, "cd" * 32])
    settle_rows(conn, "p", "h", [], now=NOW, files=["ab" * 32])
    assert [one.row for one in list_rows(conn, "p")] == [other]


def test_other_hops_are_left_alone(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    settle_rows(conn, "p", "other hop", [], now=NOW, partitions=[MONTH])
    assert _states(conn) == {1: "HELD"}


def test_files_and_partitions_can_not_be_settled_together(conn: Connection) -> None:
    with pytest.raises(PermanentError, match="either files or partitions"):
        settle_rows(conn, "p", "h", [], now=NOW)


def test_hostile_text_is_held(conn: Connection) -> None:
    _settle(conn, [_row(1, record="\x00\ud800'; DROP TABLE x; --\t\\N", reason="\\.")])
    assert list_rows(conn, "p")[0].row.record == "\\x00?'; DROP TABLE x; --\t\\N"


def test_a_discarded_record_stays_discarded_when_it_is_rejected_again(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    discard_rows(conn, "p", _ids(conn), resolution="vendor withdrew it", now=LATER)
    _settle(conn, [_row(1, rule="another")], LATER)
    assert _states(conn) == {1: "DISCARDED"}


def _ids(conn: Connection) -> list[int]:
    return [one.quarantine_id for one in list_rows(conn, "p")]


def test_a_discarded_record_keeps_the_reason_and_the_time(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    (number,) = _ids(conn)
    discard_rows(conn, "p", [number], resolution="vendor withdrew it", now=LATER)
    shown = show_row(conn, "p", number)
    assert (shown.resolution, shown.resolved_at) == ("vendor withdrew it", LATER)


def test_nothing_is_discarded_if_one_record_is_not_held(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    with pytest.raises(NotFoundError, match="none was discarded"):
        discard_rows(conn, "p", [*_ids(conn), 999_999], resolution="x", now=LATER)
    assert _states(conn) == {1: "HELD"}


def test_a_record_that_does_not_exist_can_not_be_shown(conn: Connection) -> None:
    with pytest.raises(NotFoundError, match="no quarantined record 7"):
        show_row(conn, "p", 7)


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [
        ({"rule": "b"}, {2}),
        ({"vendor": "other"}, {3}),
        ({"partition_key": MONTH}, {1, 2, 3}),
        ({"file_sha256": "abab"}, {1, 2, 3}),
        ({"file_sha256": "cd"}, set()),
    ],
)
def test_records_can_be_chosen(conn: Connection, chosen: dict[str, str], lines: set[int]) -> None:
    _settle(conn, [_row(1), _row(2, rule="b"), _row(3, vendor="other")])
    assert {one.row.line_number for one in list_rows(conn, "p", **chosen)} == lines


def test_every_newly_held_record_writes_one_issue(conn: Connection) -> None:
    _settle(conn, [_row(1), _row(2)])
    _settle(conn, [_row(1), _row(2)])
    assert _count(conn, "SELECT count(*) FROM data_quality_issues WHERE issue_type = 'record'") == 2


def test_the_issue_of_a_record_that_passes_is_resolved(conn: Connection) -> None:
    _settle(conn, [_row(1), _row(2)])
    _settle(conn, [_row(2)])
    query = "SELECT count(*) FROM data_quality_issues WHERE resolved_at IS NULL"
    assert _count(conn, query) == 1


def test_resolved_records_are_kept_ninety_days_and_held_ones_for_ever(
    conn: Connection, zone: LandingZone
) -> None:
    _settle(conn, [_row(1), _row(2)])
    _settle(conn, [_row(2)])
    removed = [
        remove_resolved(conn, zone, kept_days=90, now=NOW + timedelta(days=days))
        for days in (90, 91, 10_000)
    ]
    assert (removed, _states(conn)) == ([0, 1, 0], {2: "HELD"})


@given(held=st.sets(st.integers(1, 12)), rejected=st.sets(st.integers(1, 12)))
@examples(
    15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_preview_says_what_settling_then_does(
    conn: Connection, held: set[int], rejected: set[int]
) -> None:
    conn.execute("TRUNCATE quarantined_rows, data_quality_issues")
    _settle(conn, [_row(line) for line in held])
    now_rejected = [_row(line) for line in rejected]
    preview = preview_replay([one.row for one in list_rows(conn, "p", limit=None)], now_rejected)
    settled = _settle(conn, now_rejected, LATER)
    assert (settled.passed, settled.held) == (preview.passing, sum(preview.newly_failing.values()))


def test_settling_leaves_the_planner_as_it_was(conn: Connection) -> None:
    _settle(conn, [_row(1)])
    assert conn.execute("SELECT current_setting('enable_nestloop')").fetchone() == ("on",)


def _file(sha256: str = "ab" * 32, **changes: object) -> HeldFile:
    file = HeldFile(
        pipeline="p",
        file_sha256=sha256,
        file_name="a.csv",
        vendor=None,
        rule="empty_file",
        reason="a.csv is empty.",
        location="quarantine/a.csv",
        state="HELD",
        quarantined_at=NOW,
        resolved_at=None,
    )
    return replace(file, **changes)


def test_a_file_is_held_as_it_was_given(conn: Connection) -> None:
    hold_file(conn, _file(), now=NOW)
    assert list_files(conn, "p") == [_file()]


def test_a_file_is_found_by_the_beginning_of_its_hash(conn: Connection) -> None:
    hold_file(conn, _file(), now=NOW)
    assert show_file(conn, "p", "abab") == _file()


def test_an_ambiguous_beginning_of_a_hash_is_refused(conn: Connection) -> None:
    for sha256 in ("ab" * 32, "ac" * 32):
        hold_file(conn, _file(sha256), now=NOW)
    with pytest.raises(NotFoundError, match="More than one"):
        show_file(conn, "p", "a")


@pytest.mark.parametrize("state", ["REPLAYED", "DISCARDED"])
def test_a_resolved_file_is_no_longer_held(conn: Connection, state: str) -> None:
    hold_file(conn, _file(), now=NOW)
    resolve_file(conn, "p", "ab" * 32, state=state, now=LATER)
    assert (list_files(conn, "p"), show_file(conn, "p", "ab").state) == ([], state)


def test_a_file_that_is_not_held_can_not_be_resolved(conn: Connection) -> None:
    with pytest.raises(NotFoundError, match="not held"):
        resolve_file(conn, "p", "ab" * 32, state="DISCARDED", now=LATER)
