"""`figure_reads` and `served_loads`: who was handed which figures, and when they were served (B-4).

What is read by SQL is not recorded here; only the server's own audit can do that.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.operator_actions import command_line_actor

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class FigureRead:
    """Figures that somebody was handed, and by which command."""

    read_at: datetime
    reader: str
    command: str


@dataclass(frozen=True)
class ServedLoad:
    """One load of a month; `gold_published_at` is None if loads before it are not known."""

    served_at: datetime
    gold_published_at: datetime | None


def record_read(
    database: Database,
    command: str,
    *,
    account: str | None = None,
    vendor: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> None:
    """Write down that the user of this process is handed figures; None stands for all."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO figure_reads (reader, command, account_id, vendor, first_day, last_day)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (command_line_actor(), command, account, vendor, first, last),
        )


def reads_of(
    conn: Connection,
    account: str,
    vendor: str,
    day: date,
    *,
    since: datetime,
    until: datetime | None,
) -> list[FigureRead]:
    """Return who was handed an account's figures of a day, `since` included, `until` excluded."""
    with conn.cursor(row_factory=class_row(FigureRead)) as cursor:
        return cursor.execute(
            """
            SELECT read_at, reader, command FROM figure_reads
            WHERE coalesce(account_id, %(account)s) = %(account)s
              AND coalesce(vendor, %(vendor)s) = %(vendor)s
              AND %(day)s BETWEEN coalesce(first_day, %(day)s) AND coalesce(last_day, %(day)s)
              AND read_at >= %(since)s
              AND read_at < coalesce(%(until)s::timestamptz, 'infinity')
            ORDER BY read_at, read_id
            """,
            {"account": account, "vendor": vendor, "day": day, "since": since, "until": until},
        ).fetchall()


def record_load(
    conn: Connection, pipeline: str, partition_key: str, gold_published_at: datetime
) -> None:
    """Write down that a partition is served; call it in the transaction that swaps it in."""
    conn.execute(
        "INSERT INTO served_loads (pipeline, partition_key, gold_published_at) VALUES (%s, %s, %s)",
        (pipeline, partition_key, gold_published_at),
    )


def loads_of(conn: Connection, pipeline: str, partition_key: str) -> list[ServedLoad]:
    """Return the known loads of a partition, oldest first."""
    with conn.cursor(row_factory=class_row(ServedLoad)) as cursor:
        return cursor.execute(
            "SELECT served_at, gold_published_at FROM served_loads"
            " WHERE pipeline = %s AND partition_key = %s ORDER BY served_at",
            (pipeline, partition_key),
        ).fetchall()
