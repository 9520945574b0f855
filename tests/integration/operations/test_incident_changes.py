"""What a message says besides the fault: what changed since the last green, and until when."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations import alerting, changes
from pipeline_platform.operations.alerting import resolve
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.platform_states import present_state
from pipeline_platform.quality.measurements import Verdict
from pipeline_platform.quality.observations import record_verdict
from tests.integration.operations.desk import Desk, broken, mended
from tests.unit.operations.broken_things import NOON, PIPELINE, SILVER

SCORE = f"check:{SILVER}:data_quality_score"
TABLE = LakeTable(
    PIPELINE, "silver", "web_events", pa.schema([pa.field("day", pa.date32(), nullable=False)]), ""
)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def execute(desk: Desk, statement: str, values: Mapping[str, object]) -> None:
    with desk.services.database.transaction() as connection:
        connection.execute(statement, values)


def take_file(desk: Desk, name: str, minute: float, status: str = "PUBLISHED") -> None:
    execute(
        desk,
        "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, status, size_bytes,"
        " arrived_at, processing_start_time, run_id) VALUES (%(pipeline)s, %(name)s, %(name)s,"
        " %(status)s, 1, %(at)s, %(at)s, 'run-1')",
        {"pipeline": PIPELINE, "name": name, "status": status, "at": at(minute)},
    )


def observe(desk: Desk, value: float, outcome: str, minute: float) -> None:
    verdict = Verdict(
        "data_quality_score", outcome, severity="critical", limit=0.7, sentence="So.", value=value
    )
    with desk.services.database.transaction() as connection:
        record_verdict(connection, PIPELINE, verdict, now=at(minute), asset_key=SILVER)


def changed(desk: Desk) -> list[str]:
    """Return the lines of the last message about what changed."""
    lines = str(desk.told[-1]["message"]).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("Changed since"))
    return [lines[first], *(one[2:] for one in lines[first + 1 :] if one.startswith("- "))]


def expected(desk: Desk) -> str:
    (line,) = [
        one for one in str(desk.told[-1]["message"]).splitlines() if one.startswith("Expected")
    ]
    return line


def break_after_green(desk: Desk, name: str = SCORE) -> None:
    """Let a thing be fine at noon and break ten minutes later."""
    desk.round(mended(1, name), at=0)
    desk.round(broken(2, name, minute=10), at=10)


def test_what_was_never_seen_green_has_nothing_to_be_compared_with(desk: Desk) -> None:
    desk.round(broken(1))
    assert changed(desk) == ["Changed since the last green: not known, it was never seen green."]


def test_where_nothing_changed_that_is_said_with_the_instant_of_the_last_green(desk: Desk) -> None:
    break_after_green(desk)
    assert changed(desk) == [
        "Changed since the last green (2026-11-25 12:00 UTC):",
        "nothing that the platform records",
    ]


def test_files_that_came_since_the_last_green_are_named_and_no_others(desk: Desk) -> None:
    take_file(desk, "before.csv", -1)
    take_file(desk, "good.csv", 3)
    take_file(desk, "bad.csv", 4, "QUARANTINED")
    break_after_green(desk)
    assert "2 files taken in, 1 of them refused (bad.csv): bad.csv, good.csv" in changed(desk)


def test_a_checks_value_is_told_then_and_now(desk: Desk) -> None:
    observe(desk, 0.96, "pass", -1)
    observe(desk, 0.62, "fail", 9)
    break_after_green(desk)
    assert "data_quality_score: 0.96 then, 0.62 now" in changed(desk)


def test_other_code_and_another_limit_are_told_by_file_and_by_value(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = present_state(desk.services.settings)
    limit = "thresholds.data_quality_score.bands.critical.limit"
    after = replace(
        before,
        code_version="feedfacecafe",
        files={**before.files, "pipeline_platform/web_events/scoring.py": "0"},
        runbooks={**before.runbooks, PIPELINE: {**before.runbooks[PIPELINE], limit: "0.9"}},
    )
    states = iter([before, after])
    monkeypatch.setattr(alerting, "present_state", lambda _: next(states))
    break_after_green(desk)
    old = before.runbooks[PIPELINE][limit]
    assert changed(desk)[1:] == [
        f"code {before.code_version} -> feedfacecafe: pipeline_platform/web_events/scoring.py",
        f"runbook of {PIPELINE}: {limit} {old} -> 0.9",
    ]


def test_what_was_green_before_the_first_round_was_so_with_what_that_round_ran_with(
    desk: Desk,
) -> None:
    desk.round(mended(1, SCORE, minute=-1), at=0)
    desk.round(broken(2, SCORE, minute=10), at=10)
    assert changed(desk)[1:] == ["nothing that the platform records"]


def test_what_was_green_long_before_the_first_round_can_not_be_compared(desk: Desk) -> None:
    desk.round(mended(1, SCORE, minute=-60), at=0)
    desk.round(broken(2, SCORE, minute=10), at=10)
    assert "code, runbooks and settings: not recorded at the last green" in changed(desk)


def test_what_people_did_is_told(desk: Desk) -> None:
    execute(
        desk,
        "INSERT INTO operator_actions (acted_at, actor, action, target, result)"
        " VALUES (%(at)s, 'cli:ada', 'undo', 'run-7', 'done')",
        {"at": at(5)},
    )
    break_after_green(desk)
    assert "1 actions of people: undo run-7 by cli:ada at 11-25 12:05" in changed(desk)


def publish(desk: Desk, days: int, table: LakeTable = TABLE) -> int:
    rows: dict[str, Any] = {"day": [date(2026, 11, 1)] * days}
    lake = desk.services.lake
    arrived = pa.table(rows, schema=table.schema)
    staged = lake.stage(table, arrived, run_id="run-9", partition="first")
    return lake.publish(staged, replace=None, properties={}).snapshot_id


def test_a_snapshot_that_was_published_is_named(desk: Desk) -> None:
    number = publish(desk, 3)
    now = desk.services.lake.last_publication(TABLE)
    assert now is not None
    minute = (now.committed_at - NOON).total_seconds() / 60
    desk.round(mended(1, SCORE, minute=minute - 1), at=minute - 1)
    desk.round(broken(2, SCORE, minute=minute + 1), at=minute + 1)
    told = f"{SILVER}: 1 publications, the last is snapshot {number}, +3 rows, run run-9"
    assert told in changed(desk)


def test_a_lake_that_does_not_answer_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LAKE_SECONDS", 0.0)
    break_after_green(desk)
    assert "published snapshots: the lake did not answer within 0 s" in changed(desk)


def test_in_a_flood_of_incidents_the_lake_is_not_asked_and_that_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "SECONDS_PER_ROUND", 5)
    break_after_green(desk)
    assert changes.LAKE_NOT_ASKED in changed(desk)


def test_the_next_contact_is_told_the_same_changes(desk: Desk) -> None:
    break_after_green(desk)
    take_file(desk, "later.csv", 5)
    first = changed(desk)
    desk.round(at=30)
    assert (desk.kinds[-1], changed(desk)) == ("escalated", first)


def test_a_thing_that_is_broken_for_other_days_keeps_its_last_green(desk: Desk) -> None:
    days = ((date(2026, 11, 1), date(2026, 11, 2)),)
    others = ((date(2026, 11, 3), date(2026, 11, 4)),)
    desk.round(mended(1), at=0)
    desk.round(broken(2, minute=10, days=days), mended(3, minute=11, days=others), at=11)
    assert changed(desk)[0] == "Changed since the last green (2026-11-25 12:00 UTC):"


def test_a_cause_without_a_past_has_no_expected_time(desk: Desk) -> None:
    desk.round(broken(1))
    assert expected(desk) == (
        "Expected time to green: not known yet, nothing like it was mended before."
    )


def test_the_past_of_a_cause_says_when_it_will_be_green(desk: Desk) -> None:
    for number, minutes in enumerate((10, 20, 60)):
        start = 100 * number
        desk.round(broken(2 * number + 1, minute=start), at=start)
        desk.round(mended(2 * number + 2, minute=start + minutes), at=start + minutes)
    desk.round(broken(9, minute=400), at=400)
    assert expected(desk) == (
        "Expected time to green: about 2026-11-25 19:00 UTC; from being noticed until green this "
        "cause took 20 min in the median of 3 times, 1 h 0 min at most."
    )


def test_a_new_cause_expects_what_its_command_took_elsewhere(desk: Desk) -> None:
    desk.round(broken(1, "check:other", subject="web_events/gold/marts"))
    desk.round(mended(2, "check:other", subject="web_events/gold/marts", minute=6), at=6)
    desk.round(broken(3, minute=60), at=60)
    assert "what the same command mends took 6 min, once before" in expected(desk)


def test_what_was_closed_by_hand_is_no_time_to_green(desk: Desk) -> None:
    desk.round(broken(1))
    resolve(desk.services, 1, "Ada", "A test delivery.", at(5))
    desk.round(broken(2, minute=10), at=10)
    assert "not known yet" in expected(desk)


def test_the_same_state_is_written_down_once(desk: Desk) -> None:
    for minute in range(3):
        desk.round(at=minute)
    with desk.services.database.connection() as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM platform_states").fetchall()
    assert count == 1


def test_no_secret_is_in_a_state(desk: Desk) -> None:
    url, secret = desk.services.settings.database_url, SecretStr("json://hook:hidden@127.0.0.1/")
    assert url is not None
    given = desk.services.settings.model_copy(update={"channels": {"slack": secret}})
    state = str(present_state(given))
    assert "hidden" not in state
    assert url.get_secret_value() not in state


def test_who_must_answer_at_once_is_told_so(desk: Desk) -> None:
    desk.round(Finding(**{**broken(1).__dict__, "response_minutes": 0}))
    told = "Answer at once; at 2026-11-25 12:15 UTC the next on the ladder is told."
    assert told in desk.told[-1]["message"]
