"""The record of maintenance and restoration: what was done to which table, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline_platform.warehouse.control import Connection

Outcome = Literal["DONE", "FAILED"]


@dataclass(frozen=True)
class Effect:
    """Files and bytes before and after an operation, what it proved, and a sentence about it."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    proof: Mapping[str, object] = field(default_factory=dict)
    message: str = ""


def record_start(conn: Connection, pipeline: str, table: str, operation: str, run_id: str) -> int:
    """Record that an operation begins; return its number."""
    row = conn.execute(
        """
        INSERT INTO maintenance_runs (pipeline, table_name, operation, run_id)
        VALUES (%s, %s, %s, %s) RETURNING maintenance_id
        """,
        (pipeline, table, operation, run_id),
    ).fetchone()
    return int(row[0]) if row else 0


def record_end(conn: Connection, maintenance_id: int, outcome: Outcome, effect: Effect) -> None:
    """Record how an operation ended."""
    conn.execute(
        """
        UPDATE maintenance_runs SET ended_at = clock_timestamp(), outcome = %s,
            files_before = %s, files_after = %s, bytes_before = %s, bytes_after = %s,
            proof = %s, message = %s
        WHERE maintenance_id = %s
        """,
        (
            outcome,
            effect.files_before,
            effect.files_after,
            effect.bytes_before,
            effect.bytes_after,
            Jsonb(dict(effect.proof)),
            effect.message,
            maintenance_id,
        ),
    )


def recent_maintenance(conn: Connection, pipeline: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the latest operations of a pipeline (None: of all), newest first."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT started_at, ended_at, pipeline, table_name, operation, outcome, files_before,
                files_after, bytes_before, bytes_after, message, run_id
            FROM maintenance_runs WHERE %(pipeline)s::text IS NULL OR pipeline = %(pipeline)s
            ORDER BY maintenance_id DESC LIMIT %(limit)s
            """,
            {"pipeline": pipeline, "limit": limit},
        ).fetchall()
