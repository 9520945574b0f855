"""Incidents: one for a cause, told once, escalated while nobody answers, closed when green."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.operations.incidents import Incident, WaitingMessage, release
from pipeline_platform.operations.plan import alertings
from pipeline_platform.runbook import MessageBudget
from tests.unit.operations.broken_things import GOLD, NOON, PIPELINE, SILVER, Desk, finding

LADDER = alertings()[PIPELINE].routes["data_corruption"].ladder
RUN = {"kind": "run", "subject": "web_events_etl_workflow", "severity": "critical"}

things = st.sampled_from(
    [
        {"name": "run:ingest", "kind": "run", "subject": "ingest", "severity": "critical"},
        {"name": "run:workflow", "kind": "run", "subject": "workflow", "severity": "critical"},
        {"name": "check:score", "subject": SILVER},
        {"name": "check:nulls", "subject": SILVER, "severity": "critical"},
        {"name": "check:sessions", "subject": GOLD},
        {"name": "check:lag", "subject": SILVER, "follows_failed_runs": True},
        {"name": "overdue:silver", "kind": "overdue", "subject": SILVER,
         "follows_failed_runs": True, "severity": "critical"},
    ]
)  # fmt: skip
seen = st.tuples(things, st.booleans(), st.sampled_from(["run-1", "run-2", None]))
rounds = st.lists(
    st.tuples(st.lists(seen, max_size=4), st.integers(0, 200)), min_size=1, max_size=8
)


def play(desk: Desk, story: Sequence[tuple[Sequence[tuple], int]]) -> list[tuple[int, set]]:
    """Play rounds; return the minute of each, and what it told of."""
    number, minute, told = 0, 0, []
    for things_seen, pause in story:
        minute += pause
        findings = []
        for thing, is_fine, run_id in things_seen:
            number += 1
            findings.append(
                finding(**thing, is_fine=is_fine, run_id=run_id, event_id=number, minute=minute)
            )
        before = len(desk.told)
        desk.round(findings, minute)
        told.append((minute, desk.told[before:]))
    return told


@given(rounds)
def test_each_red_fault_is_in_exactly_one_open_incident(story: list) -> None:
    desk = Desk()
    told = play(desk, story)
    # What is left of an incident whose worst was mended is taken up in the next round.
    desk.round(minute=told[-1][0])
    causes = [incident.cause for incident in desk.open]
    assert len(causes) == len(set(causes))
    red = [fault for fault in desk.faults.values() if fault.state == "RED"]
    assert all(causes.count(fault.cause) == 1 for fault in red)
    assert set(causes) == {fault.cause for fault in red}


@given(rounds)
def test_judging_again_tells_nothing_new(story: list) -> None:
    desk = Desk()
    told = play(desk, story)
    desk.round(minute=told[-1][0])
    open_before = list(desk.open)
    assert desk.round(minute=told[-1][0]).events == ()
    assert desk.open == open_before


@given(rounds)
def test_an_incident_is_opened_once_and_resolved_at_most_once_and_last(story: list) -> None:
    desk = Desk()
    play(desk, story)
    for cause, kinds in groupby(sorted(desk.told, key=lambda one: one[0]), key=lambda one: one[0]):
        lives = " ".join(kind for _, kind in kinds).split("resolved")
        assert all(life.split()[:1] == ["opened"] for life in lives if life.strip()), cause
        assert all(life.split().count("opened") == 1 for life in lives if life.strip()), cause


@given(rounds)
def test_an_incident_is_as_severe_as_the_worst_that_broke(story: list) -> None:
    desk = Desk()
    play(desk, story)
    for incident in desk.open:
        worst = min(f.severity for f in desk.faults.values() if f.cause == incident.cause)
        assert incident.severity == worst


def test_a_failed_run_its_checks_and_what_is_late_are_one_message() -> None:
    desk = Desk()
    desk.round(
        [
            finding("overdue:a", kind="overdue", follows_failed_runs=True),
            finding("check:blocking", run_id="run-1", subject=GOLD),
            finding("check:latency", follows_failed_runs=True),
            finding("run:workflow", run_id="run-1", **RUN),
        ]
    )
    assert desk.told == [("run:workflow", "opened")]


def test_a_run_that_fails_after_its_check_joins_the_checks_incident_and_makes_it_worse() -> None:
    desk = Desk()
    desk.round([finding("check:blocking", run_id="run-1", event_id=1)])
    desk.round([finding("run:workflow", run_id="run-1", event_id=2, **RUN)], minute=1)
    assert [kind for _, kind in desk.told] == ["opened", "worsened"]


def test_checks_of_one_table_and_route_are_one_message() -> None:
    desk = Desk()
    desk.round([finding(f"check:{name}") for name in "abc"])
    assert [kind for _, kind in desk.told] == ["opened"]


def test_a_table_made_from_a_bad_one_in_the_same_run_is_the_same_cause() -> None:
    desk = Desk()
    desk.round(
        [
            finding("check:a", run_id="run-1", touches=(GOLD,)),
            finding("check:b", run_id="run-1", subject=GOLD),
        ]
    )
    assert [kind for _, kind in desk.told] == ["opened"]


def test_two_jobs_that_fail_are_two_causes() -> None:
    desk = Desk()
    desk.round([finding(f"run:{name}", **{**RUN, "subject": name}) for name in ("in", "out")])
    assert desk.told == [("run:in", "opened"), ("run:out", "opened")]


def test_one_more_failure_of_a_known_cause_is_recorded_but_not_told() -> None:
    desk = Desk()
    desk.round([finding("check:a", event_id=1)])
    judged = desk.round([finding("check:b", event_id=2)], minute=1)
    assert [event.kind for event in judged.events] == ["joined"]


def test_an_incident_is_resolved_when_the_last_of_it_is_green_at_the_instant_it_was() -> None:
    desk = Desk()
    desk.round([finding("check:a", event_id=1), finding("check:b", event_id=2)])
    desk.round([finding("check:a", event_id=3, is_fine=True, minute=5)], minute=6)
    assert desk.closed == []
    desk.round([finding("check:b", event_id=4, is_fine=True, minute=9)], minute=10)
    assert [one.resolved_at for one in desk.closed] == [NOON + timedelta(minutes=9)]


def test_when_the_worst_is_mended_the_milder_rest_is_an_incident_of_its_own() -> None:
    desk = Desk()
    desk.round([finding("check:lag", event_id=1, follows_failed_runs=True)])
    desk.round([finding("run:w", event_id=2, **RUN)], minute=1)
    desk.round([finding("run:w", event_id=3, is_fine=True, minute=5, **RUN)], minute=6)
    desk.round(minute=7)
    assert [kind for _, kind in desk.told] == ["opened", "worsened", "resolved", "opened"]
    assert [one.resolved_at for one in desk.closed] == [NOON + timedelta(minutes=5)]
    assert [one.severity for one in desk.open] == ["warning"]


def test_what_broke_and_was_mended_between_two_rounds_is_quiet() -> None:
    desk = Desk()
    desk.round([finding(event_id=1), finding(event_id=2, is_fine=True)])
    assert desk.told == []


def test_nobody_answers_and_each_of_the_ladder_is_told_in_turn() -> None:
    desk = Desk()
    desk.round([finding(severity="critical", event_id=1)])
    told = [minute for minute in range(1, 400) if desk.round(minute=minute).events]
    # SW-67: level 1 has 15 minutes, level 2 has 30 more; after level 3 nobody is left.
    assert told == [15, 45]
    assert [one.level for one in desk.open] == [len(LADDER) - 1]


def test_who_answers_is_not_passed_over() -> None:
    desk = Desk()
    desk.round([finding(severity="critical", event_id=1)])
    desk.open = [Incident(**{**one.__dict__, "state": "ACKNOWLEDGED"}) for one in desk.open]
    assert [minute for minute in range(1, 400) if desk.round(minute=minute).events] == []


def test_a_known_incident_that_gets_worse_is_told_from_the_first_on_again() -> None:
    desk = Desk()
    desk.round([finding("check:a", event_id=1, run_id="run-1")])
    desk.open = [
        Incident(**{**one.__dict__, "state": "ACKNOWLEDGED", "level": 2}) for one in desk.open
    ]
    desk.round([finding("run:w", event_id=2, run_id="run-1", **RUN)], minute=3)
    (incident,) = desk.open
    assert (incident.state, incident.level, incident.severity) == ("OPEN", 0, "critical")


@pytest.mark.parametrize("pipeline", sorted(alertings()))
def test_every_route_of_every_pipeline_passes_from_one_person_to_the_next(pipeline: str) -> None:
    alerting = alertings()[pipeline]
    for name, route in alerting.routes.items():
        for level in range(len(route.ladder)):
            waits = alerting.waits_minutes(name, level, alerting.responses[route.severity])
            assert waits >= 1, (name, level)


# --- the budget of messages ---------------------------------------------------------------------

BUDGET = MessageBudget(count=3, days=7, digest_minutes=60)
arrivals = st.lists(
    st.tuples(st.integers(0, 600), st.sampled_from(["opened", "escalated", "resolved"]),
              st.sampled_from([0, 15, 120])),
    max_size=25,
)  # fmt: skip


def play_budget(arrived: list) -> tuple[list[tuple[datetime, int]], list[tuple[datetime, tuple]]]:
    """Let messages arrive, and release every five minutes; return what was sent, and digests."""
    waiting: list[WaitingMessage] = []
    sent: list[tuple[datetime, int]] = []
    digests: list[tuple[datetime, tuple]] = []
    coming = [
        WaitingMessage(number, kind, minutes, NOON + timedelta(minutes=at))
        for number, (at, kind, minutes) in enumerate(sorted(arrived), start=1)
    ]
    for minute in range(0, 900, 5):
        now = NOON + timedelta(minutes=minute)
        waiting += [one for one in coming if now - timedelta(minutes=5) < one.created_at <= now]
        decided = release(
            waiting, [at for at, _ in sent], digests[-1][0] if digests else None, BUDGET, now
        )
        sent += [(now, number) for number in decided.single]
        digests += [(now, decided.digest)] if decided.digest else []
        gone = {*decided.single, *decided.digest}
        waiting = [one for one in waiting if one.message_id not in gone]
    assert waiting == []
    return sent, digests


@given(arrivals)
def test_every_message_is_told_exactly_once(arrived: list) -> None:
    sent, digests = play_budget(arrived)
    told = [number for _, number in sent] + [n for _, numbers in digests for n in numbers]
    assert sorted(told) == list(range(1, len(arrived) + 1))


@given(arrivals)
def test_no_more_messages_than_the_budget_are_sent_one_by_one(arrived: list) -> None:
    sent, _ = play_budget(arrived)
    assert len(sent) == min(BUDGET.count, len(arrived))


@given(arrivals)
def test_digests_are_at_least_five_minutes_and_at_most_the_responses_apart(arrived: list) -> None:
    _, digests = play_budget(arrived)
    assert all(later - at >= timedelta(minutes=5) for (at, _), (later, _) in pairwise(digests))


def waits(number: int, kind: str = "opened", **others: object) -> WaitingMessage:
    return WaitingMessage(number, kind, 120, NOON, **others)


def test_one_message_more_than_the_budget_comes_as_a_digest() -> None:
    decided = release([waits(1)], [NOON] * BUDGET.count, None, BUDGET, NOON)
    assert (decided.single, decided.digest) == ((), (1,))


def test_old_messages_do_not_count() -> None:
    long_ago = NOON - timedelta(days=BUDGET.days, seconds=1)
    assert release([waits(1)], [long_ago] * 9, None, BUDGET, NOON).single == (1,)


def test_an_end_is_sent_where_the_beginning_was_although_the_budget_is_used_up() -> None:
    decided = release([waits(1, "resolved", is_owed=True)], [NOON] * 9, NOON, BUDGET, NOON)
    assert decided.single == (1,)


@pytest.mark.parametrize(("minutes", "is_due"), [(59, False), (60, True)])
def test_digests_are_so_many_minutes_apart(minutes: int, is_due: bool) -> None:
    now = NOON + timedelta(minutes=minutes)
    assert bool(release([waits(1)], [NOON] * 9, NOON, BUDGET, now).digest) is is_due


def test_what_must_be_answered_soon_does_not_wait_for_the_next_digest() -> None:
    urgent = WaitingMessage(1, "opened", 15, NOON)
    now = NOON + timedelta(minutes=15)
    assert release([urgent], [NOON] * 9, NOON, BUDGET, now).digest == (1,)
