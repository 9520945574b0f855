"""`undone_runs`: which runs were taken back, with the plan that each undo follows (B-5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class UndoneRun:
    """One undo; until `done_at` it is in work, or was killed."""

    plan: Mapping[str, Any]
    done_at: datetime | None


def undone_run(conn: Connection, run_id: str) -> UndoneRun | None:
    """Return how the undo of a run stands; None if it was never begun."""
    row = conn.execute(
        "SELECT plan, done_at FROM undone_runs WHERE run_id = %s", (run_id,)
    ).fetchone()
    return UndoneRun(*row) if row else None


def undone_ids(conn: Connection, pipeline: str) -> set[str]:
    """Return the runs of a pipeline that were taken back as a whole."""
    rows = conn.execute(
        "SELECT run_id FROM undone_runs WHERE pipeline = %s AND state = 'DONE'", (pipeline,)
    ).fetchall()
    return {run_id for (run_id,) in rows}


def begin_undo(
    conn: Connection,
    run_id: str,
    pipeline: str,
    plan: Mapping[str, object],
    *,
    by: str,
    reason: str,
    now: datetime,
) -> None:
    """Write down what is going to be done; a plan that was begun before stays."""
    conn.execute(
        "INSERT INTO undone_runs (run_id, pipeline, undone_by, reason, plan, begun_at)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (run_id, pipeline, by, reason, Jsonb(dict(plan)), now),
    )


def give_up_undo(conn: Connection, run_id: str) -> None:
    """Forget an undo of which nothing is done; its run can be undone as if for the first time."""
    conn.execute("DELETE FROM undone_runs WHERE run_id = %s AND state = 'BEGUN'", (run_id,))


def end_undo(conn: Connection, run_id: str, now: datetime) -> None:
    """Record that all of it is done."""
    conn.execute(
        "UPDATE undone_runs SET state = 'DONE', done_at = %s WHERE run_id = %s", (now, run_id)
    )
