"""How reading a stream went: one row per attempt, and the ingester's health from them (SW-3)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg

Connection = psycopg.Connection[Any]
Outcome = Literal["PUBLISHED", "EMPTY", "FAILED"]
KEPT = timedelta(days=30)


@dataclass(frozen=True)
class StreamHealth:
    """The health of a stream's ingester at an instant.

    `last_batch_at` (UTC) is when records were last published, `last_read_at` when the stream last
    answered; `iterator_age_ms` is how far the slowest shard was behind its newest record then,
    `retention_hours` for how long the stream keeps a record, as it last said.
    None where that has never happened. Reads and failures are those of the window.
    """

    last_batch_at: datetime | None
    last_read_at: datetime | None
    iterator_age_ms: int | None
    retention_hours: int | None
    reads: int
    failed_reads: int
    records: int
    quarantined: int

    @property
    def failed_reads_pct(self) -> float | None:
        """Share of attempts that failed, in percent; None without any attempt."""
        return 100 * self.failed_reads / self.reads if self.reads else None

    @property
    def quarantined_pct(self) -> float | None:
        """Share of records that could not be parsed, in percent; None without any record."""
        return 100 * self.quarantined / self.records if self.records else None


def record_read(
    conn: Connection,
    pipeline: str,
    stream: str,
    outcome: Outcome,
    *,
    run_id: str,
    now: datetime,
    records: int = 0,
    quarantined: int = 0,
    millis_behind_latest: int | None = None,
    retention_hours: int | None = None,
    reason: str | None = None,
) -> None:
    """Remember one attempt, and forget those of the same stream that are older than 30 days."""
    conn.execute(
        "DELETE FROM stream_reads WHERE pipeline = %s AND stream = %s AND read_at < %s",
        (pipeline, stream, now - KEPT),
    )
    conn.execute(
        """
        INSERT INTO stream_reads (
            pipeline, stream, read_at, outcome, records, quarantined, millis_behind_latest,
            retention_hours, reason, run_id
        ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            pipeline,
            stream,
            now,
            outcome,
            records,
            quarantined,
            millis_behind_latest,
            retention_hours,
            reason,
            run_id,
        ),
    )


def stream_health(
    conn: Connection, pipeline: str, stream: str, *, now: datetime, window: timedelta
) -> StreamHealth:
    """Return how the ingester of a stream does; counts are those of the window before `now`."""
    row = conn.execute(
        """
        SELECT max(read_at) FILTER (WHERE outcome = 'PUBLISHED'),
            max(read_at) FILTER (WHERE outcome <> 'FAILED'),
            (array_agg(millis_behind_latest ORDER BY read_at DESC, stream_read_id DESC)
                FILTER (WHERE outcome <> 'FAILED'))[1],
            (array_agg(retention_hours ORDER BY read_at DESC, stream_read_id DESC)
                FILTER (WHERE retention_hours IS NOT NULL))[1],
            count(*) FILTER (WHERE read_at > %(since)s),
            count(*) FILTER (WHERE read_at > %(since)s AND outcome = 'FAILED'),
            coalesce(sum(records) FILTER (WHERE read_at > %(since)s), 0)::bigint,
            coalesce(sum(quarantined) FILTER (WHERE read_at > %(since)s), 0)::bigint
        FROM stream_reads
        WHERE pipeline = %(pipeline)s AND stream = %(stream)s AND read_at <= %(now)s
        """,
        {"pipeline": pipeline, "stream": stream, "now": now, "since": now - window},
    ).fetchone()
    assert row is not None  # noqa: S101 -- an aggregate always has a row
    return StreamHealth(*row)
