"""What is broken now: findings, one after the other, become faults that are red or green.

Pure. A finding is what one run, one evaluation of a check or one look at an asset says of a thing
that can break; a fault is what is remembered of that thing. The same findings in the same order
give the same faults, however often they are read again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

from pipeline_platform.quality.thresholds import Remedy, Severity

Kind = Literal["run", "check", "overdue", "capacity", "health"]
State = Literal["RED", "GREEN", "DISMISSED"]
Days = tuple[tuple[date, date], ...]
"""Ranges of days, each with its first day and the day after its last; sorted, with gaps."""

ALL_DAYS: Days = ((date.min, date.max),)
"""What a thing without partitions is about."""
Key = tuple[str, str]
"""A pipeline and the name of a fault in it."""


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing: `is_fine`, or broken with all that an incident needs.

    `event_id` orders findings of a log, and None marks a look at the present state. `days` are
    those of the partitions that it is about, `touches` the assets made from what broke.
    """

    pipeline: str
    name: str
    kind: Kind
    subject: str
    is_fine: bool
    at: datetime
    event_id: int | None = None
    days: Days = ALL_DAYS
    run_id: str | None = None
    severity: Severity = "warning"
    route: str = ""
    response_minutes: int = 0
    sentence: str = ""
    touches: tuple[str, ...] = ()
    remedy: Remedy | None = None
    follows_failed_runs: bool = False


@dataclass(frozen=True)
class Fault:
    """What is remembered of one thing that broke; `cause` is the incident that it belongs to.

    DISMISSED is what a person set aside although it is still broken.
    """

    pipeline: str
    name: str
    kind: Kind
    subject: str
    state: State
    severity: Severity
    route: str
    response_minutes: int
    sentence: str
    remedy: Remedy
    began_at: datetime
    changed_at: datetime
    event_id: int | None = None
    days: Days = ALL_DAYS
    run_id: str | None = None
    touches: tuple[str, ...] = ()
    follows_failed_runs: bool = False
    cause: str | None = None

    @property
    def key(self) -> Key:
        """The fault's pipeline and name."""
        return self.pipeline, self.name


def after(faults: Mapping[Key, Fault], findings: Iterable[Finding]) -> dict[Key, Fault]:
    """Return the faults after some findings, in the findings' order."""
    known = dict(faults)
    for finding in findings:
        key = (finding.pipeline, finding.name)
        changed = _seen(known.get(key), finding)
        if changed is not None:
            known[key] = changed
    return known


def greens(faults: Mapping[Key, Fault], findings: Iterable[Finding]) -> dict[Key, datetime]:
    """Return when each thing was seen to work last; of what is broken now, before it broke.

    `faults` are those after the findings. A thing that is broken for some days and works for others
    is broken.
    """
    seen: dict[Key, datetime] = {}
    for one in findings:
        key = (one.pipeline, one.name)
        fault = faults.get(key)
        is_broken = fault is not None and fault.state == "RED" and one.at > fault.began_at
        if one.is_fine and not is_broken:
            seen[key] = max(one.at, seen.get(key, one.at))
    return seen


def union(one: Days, other: Days) -> Days:
    """Return the days of both."""
    joined: list[tuple[date, date]] = []
    for first, end in sorted((*one, *other)):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return tuple(joined)


def without(days: Days, gone: Days) -> Days:
    """Return the days that are left; of all days nothing is left, whatever goes.

    A thing that broke as a whole is mended by any later success: nobody can know of which days.
    """
    left = () if days == ALL_DAYS else days
    for first, end in gone:
        pieces = [
            piece
            for start, stop in left
            for piece in ((start, min(stop, first)), (max(start, end), stop))
            if piece[0] < piece[1]
        ]
        left = tuple(sorted(set(pieces)))
    return left


def _seen(fault: Fault | None, finding: Finding) -> Fault | None:
    is_old = (
        fault is not None
        and fault.event_id is not None
        and finding.event_id is not None
        and finding.event_id <= fault.event_id
    )
    if is_old or (fault is None and finding.is_fine):
        return fault
    if finding.is_fine:
        assert fault is not None  # noqa: S101 -- else there is nothing to mend
        return _mended(fault, finding)
    if fault is None or fault.state == "GREEN":
        return _broken(finding)
    if fault.state == "DISMISSED":
        # It is still what was set aside, unless the thing was tried again and failed again.
        return fault if finding.event_id is None else _broken(finding)
    return replace(
        _broken(finding),
        began_at=fault.began_at,
        days=union(fault.days, finding.days),
        cause=fault.cause,
    )


def _mended(fault: Fault, finding: Finding) -> Fault:
    if fault.state == "GREEN":
        return fault
    left = without(fault.days, finding.days)
    if left:
        return replace(fault, days=left, event_id=finding.event_id)
    return replace(
        fault, state="GREEN", changed_at=finding.at, event_id=finding.event_id, days=ALL_DAYS
    )


def _broken(finding: Finding) -> Fault:
    if finding.remedy is None:
        raise ValueError(f"the finding {finding.name} is broken, but names no remedy")
    return Fault(
        pipeline=finding.pipeline,
        name=finding.name,
        kind=finding.kind,
        subject=finding.subject,
        state="RED",
        severity=finding.severity,
        route=finding.route,
        response_minutes=finding.response_minutes,
        sentence=finding.sentence,
        remedy=finding.remedy,
        began_at=finding.at,
        changed_at=finding.at,
        event_id=finding.event_id,
        days=finding.days,
        run_id=finding.run_id,
        touches=finding.touches,
        follows_failed_runs=finding.follows_failed_runs,
    )
