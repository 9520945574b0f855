"""The log of queries over the lake: when, how long, and what was read for each (SW-23)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Scanned:
    """What a query read of a table: a snapshot (None = nothing published), files, rows, bytes.

    Of the partitions that it opens, whole files are counted: at most so much was read.
    """

    table: str
    snapshot_id: int | None
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class LakeQuery:
    """One query that was asked; `error` says why it was not answered."""

    query_id: UUID
    pipeline: str
    name: str
    asked_at: datetime
    seconds: float
    error: str | None
    scanned: Sequence[Scanned]

    def __post_init__(self) -> None:
        """Take what is scanned as the database has it, too."""
        found = tuple(one if isinstance(one, Scanned) else Scanned(**one) for one in self.scanned)
        object.__setattr__(self, "scanned", found)

    def total(self, what: str) -> int:
        """Return the sum of `files`, `rows` or `bytes` over its tables."""
        return sum(int(getattr(one, what)) for one in self.scanned)


_COLUMNS = "query_id, pipeline, name, asked_at, seconds, error, scanned"


def record_query(conn: Connection, query: LakeQuery) -> None:
    """Keep a query in the log."""
    conn.execute(
        f"INSERT INTO lake_queries ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)".encode(),
        (
            query.query_id,
            query.pipeline,
            query.name,
            query.asked_at,
            query.seconds,
            query.error,
            json.dumps([asdict(one) for one in query.scanned]),
        ),
    )


def queries(
    conn: Connection,
    *,
    since: datetime,
    pipeline: str | None = None,
    beginning: str = "",
    limit: int = 50,
) -> list[LakeQuery]:
    """Return queries since an instant, the newest first; `beginning` is that of their id."""
    with conn.cursor(row_factory=class_row(LakeQuery)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM lake_queries WHERE asked_at >= %(since)s"
            " AND (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)"
            " AND starts_with(query_id::text, %(beginning)s)"
            " ORDER BY asked_at DESC, query_id LIMIT %(limit)s".encode(),
            {"since": since, "pipeline": pipeline, "beginning": beginning, "limit": limit},
        ).fetchall()


def latest_queries(conn: Connection, since: datetime) -> list[LakeQuery]:
    """Return the latest of each query since an instant."""
    with conn.cursor(row_factory=class_row(LakeQuery)) as cursor:
        return cursor.execute(
            f"SELECT DISTINCT ON (pipeline, name) {_COLUMNS} FROM lake_queries"
            " WHERE asked_at >= %s ORDER BY pipeline, name, asked_at DESC".encode(),
            (since,),
        ).fetchall()
