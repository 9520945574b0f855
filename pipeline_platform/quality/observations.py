"""`check_observations`: every verdict as it was given, for trends and for trying other limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pipeline_platform.quality.measurements import Verdict

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Observation:
    """A verdict with where and when it was given; all in the threshold's unit.

    `parts` are the figures that the value is made of, None where it has none.
    """

    observed_at: datetime
    check_name: str
    outcome: str
    severity: str | None
    value: float | None
    limit: float | None
    numerator: float | None
    denominator: float | None
    asset_key: str | None
    partition_key: str | None
    reason: str | None
    parts: Mapping[str, float] | None = None


def record_verdict(
    conn: Connection,
    pipeline: str,
    verdict: Verdict,
    *,
    now: datetime,
    asset_key: str | None = None,
    partition_key: str | None = None,
    run_id: str | None = None,
) -> None:
    """Keep a verdict, the one of something that could not be measured included (B-14)."""
    conn.execute(
        """
        INSERT INTO check_observations (
            observed_at, pipeline, check_name, asset_key, partition_key, outcome, severity,
            value, limit_value, numerator, denominator, reason, run_id, parts
        ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            now,
            pipeline,
            verdict.name,
            asset_key,
            partition_key,
            verdict.outcome,
            verdict.severity,
            verdict.value,
            verdict.limit,
            verdict.numerator,
            verdict.denominator,
            verdict.sentence,
            run_id,
            Jsonb(dict(verdict.parts)) if verdict.parts else None,
        ),
    )


def record_verdicts(
    conn: Connection,
    pipeline: str,
    verdicts: Sequence[Verdict],
    *,
    now: datetime,
    asset_key: str | None = None,
    partition_key: str | None = None,
    run_id: str | None = None,
) -> None:
    """Keep several verdicts about the same asset and partition."""
    for verdict in verdicts:
        record_verdict(
            conn,
            pipeline,
            verdict,
            now=now,
            asset_key=asset_key,
            partition_key=partition_key,
            run_id=run_id,
        )


def observations(
    conn: Connection,
    pipeline: str,
    check_name: str,
    *,
    partition_key: str | None = None,
    since: datetime | None = None,
    limit: int | None = 100,
) -> list[Observation]:
    """Return the latest observations of a check, oldest first; None as limit takes all.

    Of one partition, or since an instant, if given.
    """
    rows = conn.execute(
        """
        SELECT observed_at, check_name, outcome, severity, value, limit_value, numerator,
            denominator, asset_key, partition_key, reason, parts
        FROM check_observations
        WHERE pipeline = %(pipeline)s AND check_name = %(name)s
          AND (%(key)s::text IS NULL OR partition_key = %(key)s)
          AND (%(since)s::timestamptz IS NULL OR observed_at >= %(since)s)
        ORDER BY observed_at DESC, observation_id DESC LIMIT %(limit)s
        """,
        {
            "pipeline": pipeline,
            "name": check_name,
            "key": partition_key,
            "since": since,
            "limit": limit,
        },
    ).fetchall()
    return [Observation(*row) for row in reversed(rows)]


def history(
    conn: Connection,
    pipeline: str,
    check_name: str,
    *,
    partition_key: str | None = None,
    limit: int = 100,
) -> list[tuple[datetime, float]]:
    """Return instants and values of a check, oldest first, for a measurement's `history`."""
    return [
        (one.observed_at, one.value)
        for one in observations(
            conn, pipeline, check_name, partition_key=partition_key, limit=limit
        )
        if one.value is not None
    ]
