"""The register of files and of the partitions that must be processed (SA-24).

A partition is what a pipeline cuts its tables by, a month or a day, named by its first day.

Every function takes an open psycopg connection first and leaves the transaction to its caller, so
that a file's status changes together with what it describes.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import psycopg

from pipeline_platform.failures import NotFoundError

Connection = psycopg.Connection[Any]
Claim = Literal["NEW", "DUPLICATE", "RETRY"]


class ArrivedFile(Protocol):
    """What the register must know of a file; `landing.zone.ClaimedFile` is one."""

    @property
    def name(self) -> str:
        """File name as delivered."""

    @property
    def sha256(self) -> str:
        """Hash of the content: the file's identity."""

    @property
    def size_bytes(self) -> int:
        """Size of the content."""

    @property
    def arrived_at(self) -> datetime:
        """When the file was put into the landing zone (UTC)."""


def register_vendor(conn: Connection, vendor: str, display_name: str, now: datetime) -> None:
    """Make a vendor known, or rename it."""
    conn.execute(
        """
        INSERT INTO vendors (vendor, display_name, created_at) VALUES (%s, %s, %s)
        ON CONFLICT (vendor) DO UPDATE SET display_name = excluded.display_name
        WHERE vendors.display_name <> excluded.display_name
        """,
        (vendor, display_name, now),
    )


def register_claim(
    conn: Connection, pipeline: str, file: ArrivedFile, *, run_id: str, now: datetime
) -> Claim:
    """Enter a claimed file and say what to do with it.

    NEW: never seen, process it. RETRY: an earlier run claimed it and did not finish, process it
    again. DUPLICATE: this content was already published or quarantined, only file it away. It is
    remembered as a duplicate only if the first one has its place: without one a run was killed
    before it filed the content away, and this is that file.
    """
    inserted = conn.execute(
        """
        INSERT INTO etl_processing_log (
            pipeline, file_name, file_sha256, status, size_bytes, arrived_at,
            processing_start_time, run_id
        ) VALUES (%s, %s, %s, 'CLAIMED', %s, %s, %s, %s)
        ON CONFLICT (pipeline, file_sha256) DO NOTHING
        RETURNING processing_id
        """,
        (pipeline, file.name, file.sha256, file.size_bytes, file.arrived_at, now, run_id),
    ).fetchone()
    if inserted:
        return "NEW"
    retried = conn.execute(
        """
        UPDATE etl_processing_log SET
            status = 'CLAIMED', run_id = %s, processing_start_time = %s,
            processing_end_time = NULL, reason = NULL
        WHERE pipeline = %s AND file_sha256 = %s AND status IN ('CLAIMED', 'FAILED')
        RETURNING processing_id
        """,
        (run_id, now, pipeline, file.sha256),
    ).fetchone()
    if retried:
        return "RETRY"
    conn.execute(
        """
        UPDATE etl_processing_log SET last_duplicate_at = %s, last_duplicate_name = %s
        WHERE pipeline = %s AND file_sha256 = %s AND location IS NOT NULL
        """,
        (now, file.name, pipeline, file.sha256),
    )
    return "DUPLICATE"


def reopen(conn: Connection, pipeline: str, sha256: str, *, run_id: str, now: datetime) -> None:
    """Let a file be processed again that was already published or quarantined (replay, B-9)."""
    _update(
        conn,
        pipeline,
        sha256,
        """
        status = 'CLAIMED', run_id = %(run_id)s, processing_start_time = %(now)s,
        processing_end_time = NULL, completed_at = NULL, reason = NULL, location = NULL
        """,
        {"run_id": run_id, "now": now},
    )


def forget_claim(conn: Connection, pipeline: str, sha256: str) -> None:
    """Remove a claim whose content was never published, because it will be read again."""
    conn.execute(
        "DELETE FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s"
        " AND status = 'CLAIMED' AND published_at IS NULL",
        (pipeline, sha256),
    )


def mark_published(
    conn: Connection,
    pipeline: str,
    sha256: str,
    *,
    vendor: str,
    records: int,
    quarantined: int,
    partition_keys: Iterable[str],
    now: datetime,
    location: str | None = None,
) -> dict[str, int]:
    """Record that a file's rows are in bronze and request its partitions; return their versions.

    A file without any partition has nothing more to wait for and is COMPLETED at once.
    """
    register = "INSERT INTO vendors (vendor, display_name, created_at) VALUES (%s, %s, %s)"
    conn.execute(f"{register} ON CONFLICT DO NOTHING", (vendor, vendor, now))
    versions = request_partitions(conn, pipeline, partition_keys, now)
    _update(
        conn,
        pipeline,
        sha256,
        """
        status = %(status)s, vendor = %(vendor)s, records_processed = %(records)s,
        records_quarantined = %(quarantined)s, partition_keys = %(keys)s,
        partition_versions = %(versions)s, published_at = %(now)s,
        processing_end_time = %(now)s, completed_at = %(completed_at)s,
        location = coalesce(%(location)s, location), reason = NULL
        """,
        {
            "status": "PUBLISHED" if versions else "COMPLETED",
            "vendor": vendor,
            "records": records,
            "quarantined": quarantined,
            "keys": list(versions),
            "versions": list(versions.values()),
            "now": now,
            "completed_at": None if versions else now,
            "location": location,
        },
    )
    return versions


def mark_quarantined(
    conn: Connection,
    pipeline: str,
    sha256: str,
    *,
    rule: str,
    reason: str,
    now: datetime,
    location: str | None = None,
    vendor: str | None = None,
) -> None:
    """Record that a whole file is to go into quarantine, in the log and in quarantined_files.

    Without a `location` it has none until `set_location` says that it was moved.
    """
    _update(
        conn,
        pipeline,
        sha256,
        """
        status = 'QUARANTINED', reason = %(reason)s, processing_end_time = %(now)s,
        location = %(location)s
        """,
        {"reason": reason, "now": now, "location": location},
    )
    conn.execute(
        """
        INSERT INTO quarantined_files (
            pipeline, file_sha256, file_name, vendor, rule, reason, location, quarantined_at
        )
        SELECT pipeline, file_sha256, file_name, %s, %s, %s, location, %s
        FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s
        ON CONFLICT (pipeline, file_sha256) DO UPDATE SET
            vendor = excluded.vendor, rule = excluded.rule, reason = excluded.reason,
            location = excluded.location, quarantined_at = excluded.quarantined_at,
            state = 'HELD', resolved_at = NULL
        """,
        (vendor, rule, reason, now, pipeline, sha256),
    )


def mark_failed(
    conn: Connection, pipeline: str, sha256: str, *, reason: str, now: datetime
) -> None:
    """Record that a file's run failed; the next claim of the same content is a RETRY."""
    _update(
        conn,
        pipeline,
        sha256,
        "status = 'FAILED', reason = %(reason)s, processing_end_time = %(now)s",
        {"reason": reason, "now": now},
    )


def set_location(conn: Connection, pipeline: str, sha256: str, location: str) -> None:
    """Record where the file is now (archive or quarantine), also where it is listed as held."""
    _update(conn, pipeline, sha256, "location = %(location)s", {"location": location})
    conn.execute(
        "UPDATE quarantined_files SET location = %s"
        " WHERE pipeline = %s AND file_sha256 = %s AND state = 'HELD'",
        (location, pipeline, sha256),
    )


def files_without_location(
    conn: Connection, pipeline: str
) -> list[tuple[str, str, str, str | None]]:
    """Return (hash, name, status, reason) of files that are settled, but not known as filed away.

    An interrupted run has left them so, or one that is at work.
    """
    return conn.execute(
        "SELECT file_sha256, file_name, status, reason FROM etl_processing_log WHERE pipeline = %s"
        " AND location IS NULL AND status IN ('PUBLISHED', 'COMPLETED', 'QUARANTINED')",
        (pipeline,),
    ).fetchall()


def request_partitions(
    conn: Connection, pipeline: str, partition_keys: Iterable[str], now: datetime
) -> dict[str, int]:
    """Ask for partitions (`YYYY-MM-DD`) to be processed again; return each request's version.

    Keys are locked in order, so that two files which share partitions can't block each other.
    """
    versions: dict[str, int] = {}
    for key in sorted(set(partition_keys)):
        row = conn.execute(
            """
            INSERT INTO partition_work (pipeline, partition_key, requested_at)
            VALUES (%s, %s, %s)
            ON CONFLICT (pipeline, partition_key) DO UPDATE SET
                requested_at = excluded.requested_at,
                version = nextval('partition_work_version')
            RETURNING version
            """,
            (pipeline, key, now),
        ).fetchone()
        assert row is not None  # noqa: S101 -- an upsert without WHERE always returns its row
        versions[key] = row[0]
    return versions


def pending_partitions(conn: Connection, pipeline: str) -> dict[str, int]:
    """Return the partitions that must be processed, oldest first, with the version to complete.

    Read this before the lake's snapshot: what is published afterwards has a higher version.
    """
    rows = conn.execute(
        """
        SELECT partition_key, version FROM partition_work
        WHERE pipeline = %s ORDER BY partition_key
        """,
        (pipeline,),
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def complete_partition(conn: Connection, pipeline: str, partition_key: str, version: int) -> bool:
    """Record that a partition was loaded up to `version`; False if it was requested again since.

    Call it in the transaction that loads the partition. Only an unchanged request is removed, so a
    file that arrived while the partition was being processed keeps it pending.
    """
    conn.execute(
        """
        INSERT INTO partition_loads (pipeline, partition_key, version) VALUES (%s, %s, %s)
        ON CONFLICT (pipeline, partition_key) DO UPDATE SET
            version = greatest(partition_loads.version, excluded.version),
            loaded_at = excluded.loaded_at
        """,
        (pipeline, partition_key, version),
    )
    removed = conn.execute(
        """
        DELETE FROM partition_work
        WHERE pipeline = %s AND partition_key = %s AND version = %s
        """,
        (pipeline, partition_key, version),
    )
    return removed.rowcount == 1


def mark_completed_partitions(
    conn: Connection, pipeline: str, partition_keys: Sequence[str], now: datetime
) -> list[str]:
    """Turn PUBLISHED files into COMPLETED once their partitions are loaded; return their hashes.

    Call it after `complete_partition`: a partition counts for a file when it was loaded at or
    after the version that the file requested.
    """
    rows = conn.execute(
        """
        UPDATE etl_processing_log AS log SET status = 'COMPLETED', completed_at = %(now)s
        WHERE log.pipeline = %(pipeline)s AND log.status = 'PUBLISHED'
          AND log.partition_keys && %(keys)s
          AND NOT EXISTS (
              SELECT FROM unnest(log.partition_keys, log.partition_versions)
                  AS requested (partition_key, version)
              LEFT JOIN partition_loads AS loaded
                  ON loaded.pipeline = log.pipeline
                  AND loaded.partition_key = requested.partition_key
              WHERE loaded.version IS NULL OR loaded.version < requested.version
          )
        RETURNING log.file_sha256
        """,
        {"now": now, "pipeline": pipeline, "keys": list(partition_keys)},
    ).fetchall()
    return sorted(row[0] for row in rows)


def finish_partition(
    conn: Connection, pipeline: str, partition_key: str, version: int, now: datetime
) -> list[str]:
    """Complete a partition and the files that waited for it; return the hashes of those files."""
    complete_partition(conn, pipeline, partition_key, version)
    return mark_completed_partitions(conn, pipeline, [partition_key], now)


def _update(
    conn: Connection, pipeline: str, sha256: str, assignments: str, values: dict[str, object]
) -> None:
    changed = conn.execute(
        f"""
        UPDATE etl_processing_log SET {assignments}
        WHERE pipeline = %(pipeline)s AND file_sha256 = %(sha256)s
        """.encode(),
        {**values, "pipeline": pipeline, "sha256": sha256},
    )
    if changed.rowcount == 0:
        raise NotFoundError(
            f"No file with hash {sha256} is registered for {pipeline}; claim it first."
        )
