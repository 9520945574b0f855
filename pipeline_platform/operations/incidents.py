"""Incidents: faults by their cause, who must be told of them, and when the next person must.

Pure. One incident for one cause: a failed run, the checks that failed in it and the data that is
late because of it are one. The caller gives all open incidents and all faults; the same input
gives the same answer, and once the answer is kept, asking again changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from pipeline_platform.operations.faults import Fault, Key
from pipeline_platform.quality.thresholds import SEVERITIES, Remedy, Severity
from pipeline_platform.runbook import Alerting, MessageBudget

IncidentState = Literal["OPEN", "ACKNOWLEDGED", "RESOLVED"]
EventKind = Literal["opened", "joined", "worsened", "escalated", "resolved"]
TOLD: frozenset[EventKind] = frozenset({"opened", "worsened", "escalated", "resolved"})
"""What somebody is told of; that one more thing broke from the same cause is only recorded."""
PLATFORM = "operations"
BEHIND = "behind"
"""The cause of late data where no run is known to have failed."""
UNHEALTHY = "health"
"""The cause of everything that the platform needs and that does not work."""


@dataclass(frozen=True)
class Incident:
    """One cause that is or was broken; while it is not resolved, a cause has one incident only.

    `began_at` is when it broke, `severe_at` when it became as bad as it is, `opened_at` when it was
    noticed, `told_at` when the contact at `level` of the route's ladder was told. `resolved_by` is
    who closed it by hand, None if it was green again by itself.
    """

    pipeline: str
    cause: str
    title: str
    severity: Severity
    route: str
    response_minutes: int
    remedy: Remedy
    began_at: datetime
    severe_at: datetime
    opened_at: datetime
    told_at: datetime
    state: IncidentState = "OPEN"
    level: int = 0
    incident_id: int | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    resolved_by: str | None = None

    @property
    def key(self) -> Key:
        """What no two unresolved incidents share."""
        return self.pipeline, self.cause


@dataclass(frozen=True)
class Event:
    """One line of an incident's timeline."""

    pipeline: str
    cause: str
    kind: EventKind
    at: datetime
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """Incidents and faults as they are now, and what happened on the way."""

    incidents: tuple[Incident, ...]
    faults: tuple[Fault, ...]
    events: tuple[Event, ...]


def judge(
    incidents: Sequence[Incident],
    faults: Sequence[Fault],
    alertings: Mapping[str, Alerting],
    now: datetime,
) -> Judgement:
    """Open, join, worsen, escalate and resolve: bring incidents in line with the faults."""
    board = _Board({one.key: one for one in incidents}, {one.key: one for one in faults}, now)
    for fault in sorted(faults, key=_order):
        if fault.state == "RED" and fault.cause is None:
            board.take(fault)
    for incident in list(board.incidents.values()):
        board.settle(incident, alerting_of(alertings, incident.pipeline))
    return Judgement(
        tuple(board.incidents.values()), tuple(board.faults.values()), tuple(board.events)
    )


@dataclass
class _Board:
    incidents: dict[Key, Incident]
    faults: dict[Key, Fault]
    now: datetime
    events: list[Event] = field(default_factory=list)

    def take(self, fault: Fault) -> None:
        """Put a red fault into the incident of its cause, the oldest if there are several."""
        cause = base_cause(fault)
        fitting = [
            incident
            for incident in self.incidents.values()
            if incident.pipeline == fault.pipeline
            and (
                incident.cause == cause or any(is_related(fault, one) for one in self.red(incident))
            )
        ]
        if fitting:
            incident = min(fitting, key=lambda one: (one.opened_at, one.cause))
            self.say(incident, "joined", fault.sentence)
        else:
            incident = _opened(fault, cause, self.now)
            self.incidents[incident.key] = incident
            self.say(incident, "opened", fault.sentence)
        self.faults[fault.key] = replace(fault, cause=incident.cause)

    def settle(self, incident: Incident, alerting: Alerting) -> None:
        """Resolve an incident, or make it worse, or take it to the next contact."""
        red = self.red(incident)
        if all(SEVERITIES.index(one.severity) > SEVERITIES.index(incident.severity) for one in red):
            self.resolve(incident, len(red))
            return
        worst = min(red, key=lambda one: (SEVERITIES.index(one.severity), one.began_at, one.name))
        if SEVERITIES.index(worst.severity) < SEVERITIES.index(incident.severity):
            is_new = incident.incident_id is None
            changed = replace(
                incident,
                severity=worst.severity,
                route=worst.route,
                response_minutes=worst.response_minutes,
                remedy=worst.remedy,
                title=worst.sentence,
                severe_at=worst.began_at,
                state="OPEN",
                level=0,
                told_at=self.now,
                acknowledged_at=None,
                acknowledged_by=None,
            )
            self.incidents[incident.key] = changed
            if not is_new:
                self.say(changed, "worsened", f"It is {worst.severity} now: {worst.sentence}")
            return
        if (due := escalates_at(incident, alerting)) is not None and due <= self.now:
            changed = replace(incident, level=incident.level + 1, told_at=self.now)
            contact = alerting.route_named(incident.route).ladder[changed.level]
            self.incidents[incident.key] = changed
            waited = int((self.now - incident.told_at).total_seconds() // 60)
            self.say(
                changed,
                "escalated",
                f"Nobody answered in {waited} minutes; {alerting.contacts[contact].title} is told.",
            )

    def resolve(self, incident: Incident, milder: int) -> None:
        """Close an incident whose worst is green; what is left of it is the next round's."""
        mended = [
            one.changed_at
            for one in self.faults.values()
            if one.pipeline == incident.pipeline
            and one.cause == incident.cause
            and one.state == "GREEN"
        ]
        sentence = "Everything is green again."
        if milder:
            sentence = (
                f"What was {incident.severity} is green; {milder} milder go on by themselves."
            )
        changed = replace(
            incident,
            state="RESOLVED",
            resolved_at=max(*mended, incident.began_at) if mended else self.now,
            resolution=sentence,
        )
        self.incidents[incident.key] = changed
        self.say(changed, "resolved", sentence)

    def red(self, incident: Incident) -> list[Fault]:
        """Return what is broken of an incident."""
        return [
            one
            for one in self.faults.values()
            if one.pipeline == incident.pipeline
            and one.cause == incident.cause
            and one.state == "RED"
        ]

    def say(self, incident: Incident, kind: EventKind, sentence: str) -> None:
        """Add a line to the incident's timeline."""
        self.events.append(Event(incident.pipeline, incident.cause, kind, self.now, sentence))


def alerting_of(alertings: Mapping[str, Alerting], pipeline: str) -> Alerting:
    """Return who is told of a pipeline's incidents; of one that is gone, the platform's own people.

    An incident may outlive its pipeline, and must not keep the others from being told.
    """
    return alertings.get(pipeline) or alertings[PLATFORM]


def escalates_at(incident: Incident, alerting: Alerting) -> datetime | None:
    """Return when the next contact is told; None when somebody answered or nobody is left."""
    ladder = alerting.route_named(incident.route).ladder
    if incident.state != "OPEN" or incident.level + 1 >= len(ladder):
        return None
    minutes = alerting.waits_minutes(incident.route, incident.level, incident.response_minutes)
    return incident.told_at + timedelta(minutes=minutes)


def base_cause(fault: Fault) -> str:
    """Return what a fault's incident is called where it is the first: a run, a table, a series."""
    if fault.kind == "run":
        return fault.name
    if fault.kind == "health":
        return UNHEALTHY
    if fault.follows_failed_runs:
        return BEHIND
    if fault.kind == "check":
        return f"{fault.route}:{fault.subject}"
    return fault.name


def is_related(one: Fault, other: Fault) -> bool:
    """Tell whether two faults of a pipeline have the same cause.

    They have it if they say so themselves; if a run failed and its own checks did, or its checks
    of one route did on a table and on what is made from it; or if one is late because runs fail
    and the other is a failed run, or late as well.
    """
    if base_cause(one) == base_cause(other):
        return True
    if one.run_id is not None and one.run_id == other.run_id:
        is_flow = one.subject in other.touches or other.subject in one.touches
        is_late = one.follows_failed_runs or other.follows_failed_runs
        is_one_route = one.route == other.route
        return "run" in {one.kind, other.kind} or (is_flow and is_one_route and not is_late)
    kinds = (one.kind == "run", other.kind == "run")
    return (kinds[0] and other.follows_failed_runs) or (kinds[1] and one.follows_failed_runs)


def _order(fault: Fault) -> tuple[bool, datetime, str, str]:
    """Failed runs first: what follows from them is put into their incidents."""
    return fault.kind != "run", fault.began_at, fault.pipeline, fault.name


def _opened(fault: Fault, cause: str, now: datetime) -> Incident:
    return Incident(
        pipeline=fault.pipeline,
        cause=cause,
        title=fault.sentence,
        severity=fault.severity,
        route=fault.route,
        response_minutes=fault.response_minutes,
        remedy=fault.remedy,
        began_at=min(fault.began_at, now),
        severe_at=min(fault.began_at, now),
        opened_at=now,
        told_at=now,
    )


@dataclass(frozen=True)
class WaitingMessage:
    """A message that nobody was sent yet; `is_owed` ends what somebody was told one by one."""

    message_id: int
    kind: EventKind
    response_minutes: int
    created_at: datetime
    is_owed: bool = False


@dataclass(frozen=True)
class Release:
    """Which messages go out one by one, and which are told together in one digest, if any."""

    single: tuple[int, ...]
    digest: tuple[int, ...]


def release(
    waiting: Sequence[WaitingMessage],
    released_at: Sequence[datetime],
    last_digest_at: datetime | None,
    budget: MessageBudget,
    now: datetime,
) -> Release:
    """Decide what is sent of one route's messages now; the rest waits for the next digest (B-12).

    `released_at` are the instants at which this route's messages were sent one by one. The budget
    counts all of them in its last days. Beyond it messages wait for a digest, and digests are
    `digest_minutes` apart, or as little as the shortest response time among what waits, but not
    less than five minutes. An end that is owed is always sent: nobody keeps looking for nothing.
    """
    since = now - timedelta(days=budget.days)
    left = budget.count - sum(at > since for at in released_at)
    single: list[int] = []
    held: list[WaitingMessage] = []
    for message in sorted(waiting, key=lambda one: one.message_id):
        if message.is_owed or left > 0:
            single.append(message.message_id)
            left -= 1
        else:
            held.append(message)
    if not held:
        return Release(tuple(single), ())
    apart = max(5, min(budget.digest_minutes, *(one.response_minutes for one in held)))
    is_due = last_digest_at is None or now >= last_digest_at + timedelta(minutes=apart)
    return Release(tuple(single), tuple(one.message_id for one in held) if is_due else ())
