"""Rounds over a real database and a real HTTP channel: what is kept, told, retried and ended."""

from collections.abc import Mapping
from datetime import datetime
from threading import Timer

import psycopg
import pytest

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import (
    LOCK,
    MAX_ATTEMPTS,
    CommandLine,
    Reading,
    Round,
    Router,
    acknowledge,
    resolve,
)
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.plan import alertings
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.operations.desk import Desk, broken, mended
from tests.integration.operations.local_channels import LocalChannels
from tests.unit.operations.broken_things import PIPELINE

ROUTE = "quality_degradation"


def test_a_failed_check_is_told_with_its_command_and_the_dry_run_done(desk: Desk) -> None:
    desk.round(broken(1))
    (message,) = desk.told
    assert message["kind"] == "opened"
    for part in (
        "What: check:a is broken.",
        "Since: 2026-11-25 12:00 UTC",
        "Touches: web_events/silver/web_events",
        "Command: pipeline-platform landing ingest",
        "3 records pass now",
        "pipeline-platform incidents acknowledge 1",
    ):
        assert part in message["message"]


def test_the_same_state_is_told_once_however_often_it_is_looked_at(desk: Desk) -> None:
    for minute in range(5):
        desk.round(broken(1), at=minute)
    assert desk.kinds == ["opened"]
    assert desk.dry_runs == ["pipeline-platform partitions list"]


def test_the_end_is_told_to_who_was_told_of_the_beginning(desk: Desk) -> None:
    desk.round(broken(1))
    desk.round(mended(2, minute=9), at=10)
    assert desk.kinds == ["opened", "resolved"]
    assert desk.told[0]["incident_key"] == desk.told[1]["incident_key"]
    assert "Resolved at 2026-11-25 12:09 UTC" in desk.told[1]["message"]


def test_what_breaks_again_after_its_end_is_a_new_incident(desk: Desk) -> None:
    desk.round(broken(1))
    desk.round(mended(2), at=1)
    desk.round(broken(3), at=2)
    assert [one.state for one in desk.incidents()] == ["RESOLVED", "OPEN"]


def test_what_was_read_is_kept_together_with_where_it_ended(desk: Desk) -> None:
    def failing(reached: Mapping[str, int], _: datetime) -> Reading:
        # A severity that does not exist is refused by the database, after all else was written.
        lost = Finding(**{**broken(7).__dict__, "severity": "deadly"})
        return Reading((broken(6, "check:b"), lost), {**reached, "CHECK": 7}, is_complete=False)

    with pytest.raises(psycopg.errors.CheckViolation):
        Router(desk.services, desk.now).round(failing)
    with desk.services.database.connection() as connection:
        assert (store.positions(connection), store.faults(connection)) == ({}, {})


def test_a_part_of_a_long_log_is_kept_and_judged_only_at_its_end(desk: Desk) -> None:
    parts = [
        Reading((broken(1), broken(2, "check:b")), {"CHECK": 2}, is_complete=False),
        Reading((mended(3),), {"CHECK": 3}, is_complete=True),
    ]
    Router(desk.services, desk.now, desk._dry_run).round(lambda _, __: parts.pop(0))
    assert [one.title for one in desk.incidents()] == ["check:b is broken."]


def test_whoever_has_findings_of_its_own_waits_for_the_round_that_is_under_way(desk: Desk) -> None:
    router = Router(desk.services, desk.now, desk._dry_run)
    with desk.services.database.connection() as held:
        held.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (LOCK,))
        held.commit()
        ended = Timer(0.3, held.execute, ("SELECT pg_advisory_unlock_all()",))
        ended.start()
        done = router.round_when_free(
            lambda reached, _: Reading((broken(1),), reached, is_complete=True)
        )
        ended.join()
    assert (done.is_alone, done.opened) == (True, 1)


def test_a_round_leaves_the_work_to_one_that_is_under_way(desk: Desk) -> None:
    seen: list[Round] = []

    def read(reached: Mapping[str, int], _: datetime) -> Reading:
        seen.append(desk.round(broken(1)))
        return Reading((), reached, is_complete=True)

    Router(desk.services, desk.now).round(read)
    assert [one.is_alone for one in seen] == [False]
    assert desk.incidents() == []


# --- channels that are down or not there ----------------------------------------------------------


def test_a_channel_that_is_down_is_tried_again_with_growing_waits(desk: Desk) -> None:
    desk.channels.status = 503
    desk.round(broken(1))
    tried = [half / 2 for half in range(1, 28) if desk.round(at=half / 2).failed]
    assert tried == [0.5, 1.5, 3.5, 7.5]
    desk.channels.status = 200
    acknowledge(desk.services, 1, "Ada", desk.now())
    desk.round(at=40)
    states = {one["channel"]: one["state"] for one in desk.deliveries(1)}
    assert states["slack"] == "DELIVERED"
    assert len({one["key"] for one in desk.told}) == 1


def test_a_message_that_nobody_takes_is_undelivered_and_the_incident_says_so(desk: Desk) -> None:
    desk.channels.status = 503
    desk.round(broken(1))
    for attempt in range(1, MAX_ATTEMPTS):
        desk.round(at=attempt * 16)
    assert "undelivered" in desk.timeline(1)
    with desk.services.database.connection() as connection:
        assert "slack: undelivered" in store.undelivered(connection, [1])[1]


def test_what_was_given_up_can_be_sent_again(desk: Desk) -> None:
    desk.channels.status = 503
    desk.round(broken(1))
    for attempt in range(1, MAX_ATTEMPTS):
        desk.round(at=attempt * 16)
    desk.channels.status = 200
    with desk.services.database.transaction() as connection:
        again = store.retry_undelivered(connection, desk.now())
    # The first message, and that of the contact who was told because nobody answered.
    done = desk.round()
    assert (again >= 1, done.failed) == (True, 0)
    assert desk.kinds[-1] in {"opened", "escalated"}


def test_an_end_never_overtakes_its_beginning(desk: Desk) -> None:
    desk.channels.status = 503
    desk.round(broken(1))
    desk.round(mended(2, minute=0.2), at=0.25)
    assert set(desk.kinds) == {"opened"}
    desk.channels.status = 200
    desk.round(at=1)
    desk.round(at=1)
    assert desk.kinds[-2:] == ["opened", "resolved"]


def test_a_channel_that_is_not_configured_is_said(desk: Desk) -> None:
    desk.round(broken(1))
    states = {one["channel"]: one["state"] for one in desk.deliveries(1)}
    assert states == {"slack": "DELIVERED", "email": "NOT_CONFIGURED"}


def test_an_incident_that_nobody_can_be_told_of_is_kept_and_says_so(settings: Settings) -> None:
    with Services(settings) as services:
        desk = Desk(services, LocalChannels())
        desk.round(broken(1))
        with services.database.connection() as connection:
            told = [one for one in store.timeline(connection, 1) if one.kind == "told"]
    assert "no channel of the route quality_degradation is configured" in told[0].sentence


# --- people -------------------------------------------------------------------------------------


def test_nobody_answers_and_the_next_of_the_ladder_is_told(desk: Desk) -> None:
    desk.round(broken(1))
    desk.round(at=14)
    assert desk.kinds == ["opened"]
    desk.round(at=15)
    assert desk.kinds == ["opened", "escalated"]
    assert "Told: Data Engineering Team Lead (L2)" in desk.told[1]["message"]


def test_who_acknowledges_stops_the_escalation(desk: Desk) -> None:
    desk.round(broken(1))
    acknowledge(desk.services, 1, "Ada", desk.now())
    desk.round(at=500)
    assert desk.kinds == ["opened"]
    assert desk.incidents()[0].acknowledged_by == "Ada"


def test_acknowledging_twice_keeps_the_first(desk: Desk) -> None:
    desk.round(broken(1))
    for person in ("Ada", "Grace"):
        acknowledge(desk.services, 1, person, desk.now())
    assert desk.incidents()[0].acknowledged_by == "Ada"


def test_what_is_closed_by_hand_is_told_and_stays_closed_while_it_is_still_broken(
    desk: Desk,
) -> None:
    desk.round(broken(1))
    resolve(desk.services, 1, "Ada", "A test delivery.", desk.now())
    desk.round(broken(1), at=1)
    assert desk.kinds == ["opened", "resolved"]
    assert "Ada: A test delivery." in desk.told[1]["message"]
    assert [one.state for one in desk.incidents()] == ["RESOLVED"]


def test_what_was_closed_by_hand_and_fails_anew_is_a_new_incident(desk: Desk) -> None:
    desk.round(broken(1))
    resolve(desk.services, 1, "Ada", "A test delivery.", desk.now())
    desk.round(broken(2), at=1)
    assert [one.state for one in desk.incidents()] == ["RESOLVED", "OPEN"]


def test_a_resolved_incident_can_be_neither_acknowledged_nor_resolved(desk: Desk) -> None:
    desk.round(broken(1))
    desk.round(mended(2), at=1)
    with pytest.raises(BadInputError, match="resolved already"):
        acknowledge(desk.services, 1, "Ada", desk.now())
    with pytest.raises(BadInputError, match="resolved already"):
        resolve(desk.services, 1, "Ada", "No.", desk.now())


def test_an_incident_of_a_route_or_pipeline_that_is_gone_silences_nobody(desk: Desk) -> None:
    gone = {**broken(1).__dict__, "route": "renamed_since"}
    desk.round(Finding(**gone), Finding(**{**gone, "pipeline": "removed_since", "name": "check:b"}))
    desk.round(broken(2, "check:c"), at=15)
    assert desk.kinds.count("opened") == 3
    desk.round(mended(3), Finding(**{**mended(4, "check:b").__dict__, "pipeline": "removed_since"}))
    assert desk.kinds.count("resolved") == 2


def test_an_unknown_incident_is_named(desk: Desk) -> None:
    with pytest.raises(NotFoundError, match="no incident 99"):
        acknowledge(desk.services, 99, "Ada", desk.now())


# --- the budget of messages -----------------------------------------------------------------------


def test_beyond_its_budget_a_route_tells_in_digests_and_loses_nothing(desk: Desk) -> None:
    count = alertings()[PIPELINE].alerts.budget.count
    number = 0
    for wave in range(count):
        # Each wave opens an incident and ends it: two messages.
        desk.round(broken(number + 1), at=wave)
        desk.round(mended(number + 2, minute=wave), at=wave + 0.5)
        number += 2
    desk.round(at=count + 61)
    singles = [one for one in desk.told if one["kind"] != "digest"]
    digests = [one for one in desk.told if one["kind"] == "digest"]
    with desk.services.database.connection() as connection:
        states = dict(
            connection.execute(
                "SELECT state, count(*) FROM incident_messages WHERE kind <> 'digest' GROUP BY 1"
            ).fetchall()
        )
    assert states == {"SENT": count, "DIGESTED": count}
    assert (len(singles), len(digests)) == (count, 2)
    assert "beyond its budget" in digests[0]["title"]
    assert "The noisiest cause is quality_degradation:web_events/silver" in digests[0]["message"]


# --- figures and dry runs -------------------------------------------------------------------------


def test_looks_that_are_close_are_one_watched_period_and_a_gap_begins_another(desk: Desk) -> None:
    for minute in (0, 1, 2, 30, 31):
        desk.round(at=minute)
    with desk.services.database.connection() as connection:
        found = [
            (end - start).total_seconds() / 60 for start, end in store.watched_periods(connection)
        ]
    assert found == [2, 1]


def test_a_dry_run_is_run_in_a_process_of_its_own_on_the_same_settings(desk: Desk) -> None:
    said = CommandLine(desk.services)("pipeline-platform incidents list --json")
    assert (said.exit_code, said.output) == (0, "[]")


def test_a_dry_run_that_can_not_be_run_is_said(desk: Desk) -> None:
    said = CommandLine(desk.services)("pipeline-weather show")
    assert said.exit_code is None
    assert "can't be run" in said.in_words()


def test_a_route_without_a_dry_run_says_that_its_command_only_reads(desk: Desk) -> None:
    reads = Finding(
        **{**broken(1).__dict__, "remedy": Remedy(command="pipeline-platform cost --days 7")}
    )
    desk.round(reads)
    assert desk.dry_runs == []
    assert "only reads" in desk.told[0]["message"]
