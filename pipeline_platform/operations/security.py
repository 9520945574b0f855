"""What a security review asks, and what an answer means: policies, ages, encryption, trails, tags.

Pure. Evidence in, findings out; what was not seen is not measurable and never a pass (B-14).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Aspect = Literal["access", "encryption", "rotation", "audit trail", "tags"]
ASPECTS: tuple[Aspect, ...] = ("access", "encryption", "rotation", "audit trail", "tags")
Outcome = Literal["pass", "fail", "not measurable"]
ROTATION_ROWS = ("SA-44", "SC-50")
AUDIT_TRAIL_ROWS = ("SA-47", "SW-46")
"""The rows behind the two limits that are numbers."""
OUTCOMES: tuple[Outcome, ...] = ("fail", "not measurable", "pass")
"""The worst first."""


@dataclass(frozen=True)
class Finding:
    """One answer of a review: about what, how it ended, and why."""

    aspect: Aspect
    subject: str
    outcome: Outcome
    sentence: str
    requirements: Sequence[str]


@dataclass(frozen=True)
class Unseen:
    """Evidence that could not be had, and why."""

    reason: str


@dataclass(frozen=True)
class Bucket:
    """What AWS says of a bucket; `tags` are the keys that it has."""

    encryption: str | None
    is_logged: bool
    is_versioned: bool
    tags: Collection[str] = ()


@dataclass(frozen=True)
class Trail:
    """Whether a trail writes, and when it last delivered."""

    is_logging: bool
    delivered_at: datetime | None


@dataclass(frozen=True)
class Evidence:
    """What was seen, by name; anything may be Unseen.

    `roles` are the statements of each role's policies; `secrets` say when each was last changed,
    `database_roles` which of the server's roles may do everything.
    """

    roles: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]] | Unseen] = field(
        default_factory=dict
    )
    buckets: Mapping[str, Bucket | Unseen] = field(default_factory=dict)
    trails: Mapping[str, Trail | Unseen] = field(default_factory=dict)
    secrets: Mapping[str, datetime | Unseen] = field(default_factory=dict)
    database_roles: Sequence[str] = ()
    database_transport: str | None = None


@dataclass(frozen=True)
class Limits:
    """How old a secret may be, how late a trail, and which tags a bucket must have."""

    rotated_days: int
    delivered_hours: int
    tags: Collection[str]


def findings(
    seen: Evidence, limits: Limits, known: Collection[str] | None, now: datetime
) -> list[Finding]:
    """Judge evidence; `known` is what the review of last month saw (None: there was none)."""
    return [
        *_access(seen, known),
        *_encryption(seen),
        *_rotation(seen, limits, now),
        *_audit_trail(seen, limits, now),
        *_tags(seen, limits),
    ]


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Return what fails before what is not measurable, and that before what passes."""
    return sorted(found, key=lambda one: OUTCOMES.index(one.outcome))


def grants(seen: Evidence) -> list[str]:
    """Return what is too much, wildcards and superusers, by names that the next review knows."""
    found = [
        f"role {role}, policy {policy}: {wildcard}"
        for role, policies in seen.roles.items()
        if not isinstance(policies, Unseen)
        for policy, statements in policies.items()
        for statement in statements
        for wildcard in _wildcards(statement)
    ]
    return sorted({*found, *(f"database superuser {one}" for one in seen.database_roles)})


def _access(seen: Evidence, known: Collection[str] | None) -> Iterator[Finding]:
    rows, too_much = ("SA-43", "SW-44", "ST-85", "X-16"), grants(seen)
    for role, policies in seen.roles.items():
        if isinstance(policies, Unseen):
            yield Finding("access", f"role {role}", "not measurable", policies.reason, rows)
            continue
        wide = [one for one in too_much if one.startswith(f"role {role}, ")]
        yield _compared(f"role {role}", wide, known, rows, f"{len(policies)} policies")
    wide = [one for one in too_much if one.startswith("database ")]
    yield _compared("database superusers", wide, known, ("ST-85",), "")


def _compared(
    subject: str,
    wide: Sequence[str],
    known: Collection[str] | None,
    rows: Sequence[str],
    told: str,
) -> Finding:
    """Judge what is too much: what came since the last review fails, what was known is told."""
    lead = f"{told}, " if told else ""
    if known is None:
        names = "; ".join(wide) or "nothing"
        sentence = f"{lead}too wide: {names}. The first review: nothing to compare with."
        return Finding("access", subject, "not measurable", sentence, rows)
    added = [one for one in wide if one not in known]
    if added:
        return Finding("access", subject, "fail", f"{lead}added: {'; '.join(added)}.", rows)
    sentence = f"{lead}nothing too wide was added; {len(wide)} known before."
    return Finding("access", subject, "pass", sentence, rows)


def _encryption(seen: Evidence) -> Iterator[Finding]:
    rows = ("SA-46", "SW-45", "ST-87")
    for name, bucket in seen.buckets.items():
        if isinstance(bucket, Unseen):
            yield Finding("encryption", f"bucket {name}", "not measurable", bucket.reason, rows)
        elif bucket.encryption is None:
            sentence = "it is not encrypted by default"
            yield Finding("encryption", f"bucket {name}", "fail", sentence, rows)
        else:
            yield Finding("encryption", f"bucket {name}", "pass", bucket.encryption, rows)
    transport = seen.database_transport
    sentence = transport or "connections to the database leave this machine without TLS"
    yield Finding("encryption", "database", "pass" if transport else "fail", sentence, ("SA-46",))


def _rotation(seen: Evidence, limits: Limits, now: datetime) -> Iterator[Finding]:
    rows = ROTATION_ROWS
    for name, changed in seen.secrets.items():
        if isinstance(changed, Unseen):
            yield Finding("rotation", name, "not measurable", changed.reason, rows)
            continue
        days = (now - changed).days
        is_young = now - changed <= timedelta(days=limits.rotated_days)
        sentence = f"{days} days old, at most {limits.rotated_days} are allowed"
        yield Finding("rotation", name, "pass" if is_young else "fail", sentence, rows)


def _audit_trail(seen: Evidence, limits: Limits, now: datetime) -> Iterator[Finding]:
    rows = AUDIT_TRAIL_ROWS
    for name, trail in seen.trails.items():
        subject = f"trail {name}"
        if isinstance(trail, Unseen):
            yield Finding("audit trail", subject, "not measurable", trail.reason, rows)
        elif not trail.is_logging:
            yield Finding("audit trail", subject, "fail", "it is switched off", rows)
        elif trail.delivered_at is None:
            sentence = "it is on, but AWS names no delivery"
            yield Finding("audit trail", subject, "not measurable", sentence, rows)
        else:
            late = now - trail.delivered_at > timedelta(hours=limits.delivered_hours)
            sentence = f"last delivered at {trail.delivered_at:%Y-%m-%d %H:%M} UTC"
            yield Finding("audit trail", subject, "fail" if late else "pass", sentence, rows)
    for name, bucket in seen.buckets.items():
        subject = f"bucket {name}"
        if isinstance(bucket, Unseen):
            yield Finding("audit trail", subject, "not measurable", bucket.reason, ("SA-47",))
            continue
        words = {True: "access is logged", False: "access is not logged"}[bucket.is_logged]
        outcome: Outcome = "pass" if bucket.is_logged else "fail"
        yield Finding("audit trail", subject, outcome, words, ("SA-47",))
        words = {True: "versions are kept", False: "versions are not kept"}[bucket.is_versioned]
        outcome = "pass" if bucket.is_versioned else "fail"
        yield Finding("audit trail", f"{subject}, versions", outcome, words, ("SA-94",))


def _tags(seen: Evidence, limits: Limits) -> Iterator[Finding]:
    rows = ("SW-43", "ST-96", "X-16")
    for name, bucket in seen.buckets.items():
        if isinstance(bucket, Unseen):
            yield Finding("tags", f"bucket {name}", "not measurable", bucket.reason, rows)
            continue
        missing = sorted({*limits.tags} - {*bucket.tags})
        sentence = f"without {', '.join(missing)}" if missing else "all tags are there"
        yield Finding("tags", f"bucket {name}", "fail" if missing else "pass", sentence, rows)


def _wildcards(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a statement allows too widely: every action, or all of a service everywhere."""
    if statement.get("Effect") != "Allow":
        return
    resources = _listed(statement.get("Resource"))
    for action in _listed(statement.get("Action")):
        if action == "*" or (action.endswith(":*") and "*" in resources):
            yield f"{action} on {', '.join(resources) or 'nothing named'}"
    if "NotAction" in statement:
        yield f"all but {', '.join(_listed(statement['NotAction']))} on {', '.join(resources)}"


def _listed(given: object) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else [str(one) for one in given]  # type: ignore[attr-defined]
