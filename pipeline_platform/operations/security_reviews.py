"""Security reviews: evidence of AWS, of the database and of our own secrets, judged and kept.

Without a source AWS's part is not measurable and says so. What is kept holds no secret: of a token
its name and the beginning of its hash, so that its age can be told.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pipeline_platform.operations.aws_evidence import SeenOfAws, evidence_of
from pipeline_platform.operations.plan import operations_plan, runbooks
from pipeline_platform.operations.security import (
    Evidence,
    Finding,
    Limits,
    Unseen,
    findings,
    grants,
)
from pipeline_platform.runbook import SecuredThings
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

Connection = psycopg.Connection[Any]
COMPARED_AFTER = timedelta(days=27)
"""A review is compared with the newest one of at least four weeks before, else the oldest."""
_NOT_CONFIGURED = "Not configured: set PLATFORM_SECURITY_SOURCE=aws."
_FINGERPRINT = 12


@dataclass(frozen=True)
class SecurityReview:
    """A review as it is kept; `compared_with` is when the one it was compared with was made."""

    reviewed_at: datetime
    findings: Sequence[Finding]
    compared_with: datetime | None


def review(services: Services, now: datetime, run_id: str | None = None) -> SecurityReview:
    """Look at everything that the runbooks name, judge it and keep the result."""
    settings, plan = services.settings, operations_plan().security
    of_aws = _of_aws(settings)  # before the transaction: it must not stay open for AWS
    with services.database.transaction() as connection:
        before = _compared(connection, now)
        tokens = _tokens(connection, settings, now)
        seen = _evidence(connection, settings, of_aws, tokens)
        limits = Limits(plan.rotated_days, plan.delivered_hours, plan.tags)
        known = None if before is None else before[1]
        found = findings(seen, limits, known, now)
        _keep(connection, now, run_id, found, [*grants(seen), *_still_unseen(seen, known or ())])
    return SecurityReview(now, found, None if before is None else before[0])


def latest_review(conn: Connection) -> SecurityReview | None:
    """Return the newest review; None before the first."""
    row = conn.execute(
        "SELECT reviewed_at, findings FROM security_reviews ORDER BY reviewed_at DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    return SecurityReview(row[0], [Finding(**one) for one in row[1]], None)


def _still_unseen(seen: Evidence, known: Collection[str]) -> list[str]:
    """Return what was known of roles that can't be seen now: it must not look new next time."""
    hidden = [f"role {name}, " for name, one in seen.roles.items() if isinstance(one, Unseen)]
    return [one for one in known if one.startswith(tuple(hidden))]


def _of_aws(settings: Settings) -> SeenOfAws:
    """Gather what AWS shows; names that two pipelines share are asked about once."""
    things = _union([one.security for one in runbooks().values()])
    if settings.security_source is not None:
        return evidence_of(things, settings.s3_region)
    nothing = Unseen(_NOT_CONFIGURED)
    return (
        dict.fromkeys(things.roles, nothing),
        dict.fromkeys(things.buckets, nothing),
        dict.fromkeys(things.trails, nothing),
        dict.fromkeys(things.secrets, nothing),
    )


def _evidence(
    conn: Connection,
    settings: Settings,
    of_aws: SeenOfAws,
    tokens: Mapping[str, datetime | Unseen],
) -> Evidence:
    """Add to what AWS shows what the database and our own settings do."""
    roles, buckets, trails, secrets = of_aws
    return Evidence(
        roles,
        buckets,
        trails,
        {f"secret {name}": at for name, at in secrets.items()}
        | {**tokens, **_own_secrets(settings)},
        _superusers(conn),
        _transport(conn),
    )


def _union(all_of_them: Sequence[SecuredThings]) -> SecuredThings:
    names = ("roles", "buckets", "trails", "secrets")
    return SecuredThings.model_validate(
        {
            name: sorted({one for things in all_of_them for one in getattr(things, name)})
            for name in names
        }
    )


def _tokens(conn: Connection, settings: Settings, now: datetime) -> dict[str, datetime | Unseen]:
    """Return since when each token of the HTTP service is known; a new one from now on."""
    given = settings.api_tokens.get_secret_value() if settings.api_tokens else ""
    found: dict[str, datetime | Unseen] = {}
    for entry in filter(None, given.split(",")):
        name, role, sha256 = entry.split(":")
        row = conn.execute(
            "INSERT INTO known_tokens AS known (name, fingerprint, first_seen_at)"
            " VALUES (%s, %s, %s) ON CONFLICT (name, fingerprint)"
            " DO UPDATE SET first_seen_at = known.first_seen_at RETURNING first_seen_at",
            (name, sha256[:_FINGERPRINT], now),
        ).fetchone()
        found[f"token of {name} ({role})"] = row[0] if row else now
    return found


def _own_secrets(settings: Settings) -> dict[str, datetime | Unseen]:
    """Return how old our own passwords are, as far as anybody can know."""
    password = settings.home / "postgres" / "password"
    found: dict[str, datetime | Unseen] = {}
    if settings.database_url is not None:
        found["password of PLATFORM_DATABASE_URL"] = Unseen(
            "an environment variable does not say how old it is; use PLATFORM_DATABASE_SECRET_NAME."
        )
    elif settings.database_secret_name is None and password.exists():
        changed = datetime.fromtimestamp(password.stat().st_mtime, UTC)
        found["password of the embedded server"] = changed
    if settings.channels:
        found["addresses of PLATFORM_CHANNELS"] = Unseen(
            "an environment variable does not say how old it is; use PLATFORM_CHANNELS_SECRET_NAME."
        )
    return found


def _superusers(conn: Connection) -> list[str]:
    rows = conn.execute("SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY 1")
    return [row[0] for row in rows.fetchall()]


def _transport(conn: Connection) -> str | None:
    """Say how connections to the database are kept private; None if they are not.

    The connection is asked, not the setting: an address may name its host in more than one place.
    """
    row = conn.execute(
        "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ).fetchone()
    if row is not None and row[0]:
        return f"TLS ({row[1]})"
    address = conn.info.hostaddr  # empty for a Unix socket
    is_local = not address or ip_address(address).is_loopback
    return "connections stay on this machine" if is_local else None


def _compared(conn: Connection, now: datetime) -> tuple[datetime, Collection[str]] | None:
    """Return when the review to compare with was made, and what it saw as too much."""
    row = conn.execute(
        "SELECT reviewed_at, grants FROM security_reviews"
        " ORDER BY reviewed_at > %(before)s,"
        " CASE WHEN reviewed_at <= %(before)s THEN reviewed_at END DESC, reviewed_at LIMIT 1",
        {"before": now - COMPARED_AFTER},
    ).fetchone()
    return (row[0], row[1]) if row else None


def _keep(
    conn: Connection,
    now: datetime,
    run_id: str | None,
    found: Sequence[Finding],
    too_much: Sequence[str],
) -> None:
    conn.execute(
        "INSERT INTO security_reviews (reviewed_at, run_id, findings, grants)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (reviewed_at) DO NOTHING",
        (now, run_id, Jsonb([asdict(one) for one in found]), Jsonb(list(too_much))),
    )
