"""Findings of a security review: what fails, what passes, and what nobody could see."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.operations.security import (
    Bucket,
    Evidence,
    Finding,
    Limits,
    Trail,
    Unseen,
    findings,
    grants,
)

NOW = datetime(2026, 11, 29, 5, tzinfo=UTC)
LIMITS = Limits(90, 24, ["Owner", "Project"])
UNSEEN = Unseen("Not configured.")
GOOD = Bucket("aws:kms", is_logged=True, is_versioned=True, tags=["Owner", "Project", "Other"])


def judged(aspect: str, *, known: Sequence[str] | None = (), **seen: Any) -> list[Finding]:
    evidence = Evidence(**{"database_transport": "TLS", **seen})
    return [one for one in findings(evidence, LIMITS, known, NOW) if one.aspect == aspect]


def outcome(aspect: str, subject: str, **given: Any) -> str:
    return next(one.outcome for one in judged(aspect, **given) if one.subject == subject)


def role(*statements: dict[str, object]) -> dict[str, Any]:
    return {"roles": {"Loader": {"Access": list(statements)}}}


def allow(action: object, resource: object = "*") -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


class TestAccess:
    @pytest.mark.parametrize(
        ("statement", "is_wide"),
        [
            (allow("*"), True),
            (allow(["s3:GetObject", "s3:*"]), True),
            (allow("*", "arn:aws:s3:::bucket"), True),
            (allow("s3:*", "arn:aws:s3:::bucket/*"), False),
            (allow("s3:GetObject"), False),
            ({"Effect": "Deny", "Action": "*", "Resource": "*"}, False),
            ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, True),
        ],
    )
    def test_a_wildcard_is_too_much(self, statement: dict[str, object], is_wide: bool) -> None:
        assert bool(grants(Evidence(**role(statement)))) == is_wide

    def test_a_wildcard_that_was_added_fails(self) -> None:
        assert outcome("access", "role Loader", **role(allow("*"))) == "fail"

    def test_a_wildcard_that_was_known_is_told_and_passes(self) -> None:
        known = grants(Evidence(**role(allow("*"))))
        (found, _) = judged("access", known=known, **role(allow("*")))
        assert (found.outcome, "1 known before" in found.sentence) == ("pass", True)

    def test_the_first_review_has_nothing_to_compare_with(self) -> None:
        found = outcome("access", "role Loader", known=None, **role(allow("*")))
        assert found == "not measurable"

    def test_another_superuser_fails(self) -> None:
        given = {"database_roles": ["postgres", "eve"], "known": ["database superuser postgres"]}
        assert outcome("access", "database superusers", **given) == "fail"


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [(GOOD, "pass"), (Bucket(None, True, True), "fail"), (UNSEEN, "not measurable")],
)
def test_a_bucket_must_be_encrypted(bucket: Bucket | Unseen, expected: str) -> None:
    assert outcome("encryption", "bucket raw", buckets={"raw": bucket}) == expected


@pytest.mark.parametrize(("transport", "expected"), [("TLS", "pass"), (None, "fail")])
def test_connections_to_the_database_must_be_private(transport: str | None, expected: str) -> None:
    assert outcome("encryption", "database", database_transport=transport) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (NOW - timedelta(days=90), "pass"),
        (NOW - timedelta(days=90, seconds=1), "fail"),
        (UNSEEN, "not measurable"),
    ],
)
def test_a_secret_must_have_been_changed_lately(changed: Any, expected: str) -> None:
    assert outcome("rotation", "secret db", secrets={"secret db": changed}) == expected


SHIPPED = list(csv.DictReader(Path(__file__).with_name("security_limits.csv").open()))
"""What the shipped limits let pass and what they don't; the matrix of rows names it (B-1)."""


@pytest.mark.parametrize("line", SHIPPED, ids=lambda line: line["aspect"])
def test_the_shipped_limits_are_crossed(line: dict[str, str]) -> None:
    plan = operations_plan().security
    limits = Limits(plan.rotated_days, plan.delivered_hours, plan.tags)
    ended = []
    for name in ("inside_seconds", "outside_seconds"):
        at = NOW - timedelta(seconds=int(line[name]))
        seen = Evidence(secrets={"x": at}, trails={"x": Trail(True, at)})
        found = findings(seen, limits, (), NOW)
        ended += [one.outcome for one in found if one.aspect == line["aspect"]]
    assert ended == ["pass", "fail"]


def test_every_limit_in_days_or_hours_is_crossed() -> None:
    assert {line["aspect"] for line in SHIPPED} == {"rotation", "audit trail"}


@pytest.mark.parametrize(
    ("trail", "expected"),
    [
        (Trail(True, NOW - timedelta(hours=24)), "pass"),
        (Trail(True, NOW - timedelta(hours=25)), "fail"),
        (Trail(True, None), "not measurable"),
        (Trail(False, NOW), "fail"),
        (UNSEEN, "not measurable"),
    ],
)
def test_a_trail_must_be_on_and_recent(trail: Trail | Unseen, expected: str) -> None:
    assert outcome("audit trail", "trail audit", trails={"audit": trail}) == expected


@pytest.mark.parametrize(
    ("subject", "bucket"),
    [
        ("bucket raw", Bucket("AES256", is_logged=False, is_versioned=True)),
        ("bucket raw, versions", Bucket("AES256", is_logged=True, is_versioned=False)),
    ],
)
def test_a_bucket_must_log_access_and_keep_versions(subject: str, bucket: Bucket) -> None:
    assert outcome("audit trail", subject, buckets={"raw": bucket}) == "fail"


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [(["Owner"], "without Project"), (["Owner", "Project"], "all tags are there")],
)
def test_a_bucket_must_have_every_tag(tags: list[str], sentence: str) -> None:
    (found,) = judged("tags", buckets={"raw": Bucket("AES256", True, True, tags)})
    assert found.sentence == sentence


def test_every_finding_names_its_rows() -> None:
    seen = {"buckets": {"raw": GOOD}, "trails": {"t": Trail(True, NOW)}, "secrets": {"s": NOW}}
    evidence = Evidence(**role(allow("s3:GetObject")), **seen)
    assert [one for one in findings(evidence, LIMITS, (), NOW) if not one.requirements] == []
