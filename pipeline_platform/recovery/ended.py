"""The recoveries that ended, and the lessons that people wrote down (SA-99)."""

import json
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from pipeline_platform.recovery.record import EndedRecovery

Connection = psycopg.Connection[Any]
_COLUMNS = "began_at, ended_at, recovered_by, reason, steps, faults, lessons"


def record_recovery(conn: Connection, one: EndedRecovery) -> None:
    """Keep a recovery; recorded again, it is what is said now, with the lessons of both."""
    conn.execute(
        f"INSERT INTO recoveries AS kept ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (began_at) DO UPDATE SET ended_at = excluded.ended_at,"
        " steps = excluded.steps, faults = excluded.faults, lessons = CASE"
        " WHEN kept.lessons @> excluded.lessons THEN kept.lessons"
        " ELSE kept.lessons || excluded.lessons END".encode(),
        (
            one.began_at,
            one.ended_at,
            one.recovered_by,
            one.reason,
            json.dumps(list(one.steps)),
            json.dumps(list(one.faults)),
            json.dumps(list(one.lessons)),
        ),
    )


def add_lesson(conn: Connection, lesson: str) -> EndedRecovery | None:
    """Write a lesson down with the newest recovery; return that, None if there was none."""
    with conn.cursor(row_factory=class_row(EndedRecovery)) as cursor:
        return cursor.execute(
            "UPDATE recoveries SET lessons = lessons || %s::jsonb"
            " WHERE began_at = (SELECT max(began_at) FROM recoveries)"
            f" RETURNING {_COLUMNS}".encode(),
            (json.dumps([lesson]),),
        ).fetchone()


def recoveries_between(conn: Connection, first: datetime, last: datetime) -> list[EndedRecovery]:
    """Return the recoveries that were under way at some instant from first to last, in order."""
    with conn.cursor(row_factory=class_row(EndedRecovery)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM recoveries WHERE began_at <= %s AND ended_at >= %s"
            " ORDER BY began_at".encode(),
            (last, first),
        ).fetchall()
