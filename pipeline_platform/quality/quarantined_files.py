"""Files that were refused as a whole, with reason and place, until replayed or discarded (XC-6)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg

from pipeline_platform.failures import NotFoundError
from pipeline_platform.quality.quarantine import State
from pipeline_platform.quality.stored_text import storable

Connection = psycopg.Connection[Any]
_FILE = (
    "pipeline, file_sha256, file_name, vendor, rule, reason, location, state, quarantined_at, "
    "resolved_at"
)


@dataclass(frozen=True)
class HeldFile:
    """A quarantined file as it is stored; `location` is where its bytes are."""

    pipeline: str
    file_sha256: str
    file_name: str
    vendor: str | None
    rule: str
    reason: str
    location: str | None
    state: State
    quarantined_at: datetime
    resolved_at: datetime | None


def list_files(
    conn: Connection, pipeline: str, *, state: State | None = "HELD", limit: int | None = 100
) -> list[HeldFile]:
    """Return quarantined files, the newest first."""
    rows = conn.execute(
        f"""
        SELECT {_FILE} FROM quarantined_files
        WHERE pipeline = %(pipeline)s AND (%(state)s::text IS NULL OR state = %(state)s)
        ORDER BY quarantined_at DESC, file_sha256 LIMIT %(limit)s
        """.encode(),
        {"pipeline": pipeline, "state": state, "limit": limit},
    ).fetchall()
    return [HeldFile(*row) for row in rows]


def show_file(conn: Connection, pipeline: str, sha256: str) -> HeldFile:
    """Return one quarantined file by its hash or the beginning of it, if that names only one."""
    rows = conn.execute(
        f"SELECT {_FILE} FROM quarantined_files"
        " WHERE pipeline = %s AND starts_with(file_sha256, %s) LIMIT 2".encode(),
        (pipeline, sha256),
    ).fetchall()
    if len(rows) != 1:
        found = "No quarantined file" if not rows else "More than one quarantined file"
        raise NotFoundError(
            f"{found} of {pipeline} has a hash that begins with {sha256}; "
            "list the quarantine to see the hashes."
        )
    return HeldFile(*rows[0])


def hold_file(conn: Connection, file: HeldFile, *, now: datetime) -> None:
    """Enter a file into quarantine, or enter it again with another reason."""
    conn.execute(
        """
        INSERT INTO quarantined_files (
            pipeline, file_sha256, file_name, vendor, rule, reason, location, quarantined_at
        ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (pipeline, file_sha256) DO UPDATE SET
            file_name = excluded.file_name, vendor = excluded.vendor, rule = excluded.rule,
            reason = excluded.reason, location = excluded.location,
            quarantined_at = excluded.quarantined_at, state = 'HELD', resolved_at = NULL
        """,
        (
            file.pipeline,
            file.file_sha256,
            storable(file.file_name),
            file.vendor,
            file.rule,
            storable(file.reason),
            file.location,
            now,
        ),
    )


def resolve_file(
    conn: Connection,
    pipeline: str,
    file_sha256: str,
    *,
    state: Literal["REPLAYED", "DISCARDED"],
    now: datetime,
) -> None:
    """Mark a held file as replayed or discarded; raise NotFoundError if it isn't held."""
    changed = conn.execute(
        "UPDATE quarantined_files SET state = %s, resolved_at = %s"
        " WHERE pipeline = %s AND file_sha256 = %s AND state = 'HELD'",
        (state, now, pipeline, file_sha256),
    ).rowcount
    if changed == 0:
        raise NotFoundError(
            f"The file {file_sha256} of {pipeline} is not held in quarantine, "
            f"so it can't become {state}; list the quarantine to see what is."
        )
