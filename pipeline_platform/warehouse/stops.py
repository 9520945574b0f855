"""What is stopped: everything, or single pipelines, until somebody lets it go on (XC-5, SA-67).

The state is two control tables, so it survives every restart and a plain
`UPDATE pipelines SET enabled = false` is enough (SC-29). Sensors and schedules ask before they
start anything, the launcher before a queued run begins, and a run before each piece of its work.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from pipeline_platform.failures import PermanentError, StoppedError
from pipeline_platform.warehouse.database import Database

Connection = psycopg.Connection[Any]
EVERYTHING = "*"
"""The scope of a stop of all pipelines."""
T = TypeVar("T")


@dataclass(frozen=True)
class Stop:
    """Who stopped a pipeline (or, with scope `*`, everything), when and why."""

    scope: str
    stopped_at: datetime
    stopped_by: str
    reason: str | None

    def sentence(self, pipeline: str) -> str:
        """Say it, and what lets the pipeline go on."""
        what = "Everything" if self.scope == EVERYTHING else pipeline
        command = "resume" if self.scope == EVERYTHING else f"resume {pipeline}"
        why = f": {self.reason.rstrip('.')}" if self.reason else ""
        return (
            f"{what} is stopped since {self.stopped_at:%Y-%m-%d %H:%M} UTC by {self.stopped_by}"
            f"{why}. `pipeline-platform pipelines {command}` lets it go on."
        )


def stop_of(conn: Connection, pipeline: str) -> Stop | None:
    """Return what stops a pipeline now: the stop of everything, else its own, else None."""
    row = conn.execute(
        """
        SELECT scope, at, by, reason FROM (
            SELECT '*' AS scope, stopped_at AS at, stopped_by AS by, reason FROM global_stop
            UNION ALL
            SELECT pipeline_id, changed_at, changed_by, reason FROM pipelines
            WHERE pipeline_id = %s AND NOT enabled
        ) AS stops ORDER BY scope LIMIT 1
        """,
        (pipeline,),
    ).fetchone()
    return Stop(*row) if row else None


def require_running(database: Database, pipeline: str) -> None:
    """Raise StoppedError if a pipeline is stopped; called between commits."""
    with database.connection() as connection:
        stop = stop_of(connection, pipeline)
    if stop is not None:
        raise StoppedError(stop.sentence(pipeline))


def while_running(database: Database, pipeline: str, work: Iterable[T]) -> Iterator[T]:
    """Yield pieces of work, each only if the pipeline is not stopped; else raise StoppedError.

    What was done before is committed, so the next run goes on where this one ended.
    """
    for piece in work:
        require_running(database, pipeline)
        yield piece


def register_pipelines(conn: Connection, pipelines: Sequence[str]) -> None:
    """Make pipelines known, so that a plain UPDATE finds them; known ones are left as they are."""
    conn.execute(
        "INSERT INTO pipelines (pipeline_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (list(pipelines),),
    )


def stops(conn: Connection) -> dict[str, Stop]:
    """Return every stop by its scope: `*` or the pipeline."""
    rows = conn.execute(
        """
        SELECT '*', stopped_at, stopped_by, reason FROM global_stop
        UNION ALL
        SELECT pipeline_id, changed_at, changed_by, reason FROM pipelines WHERE NOT enabled
        """
    ).fetchall()
    return {row[0]: Stop(*row) for row in rows}


def in_words(conn: Connection) -> dict[str, object]:
    """Return what is stopped and why, for the record of an action."""
    return {scope: one.reason or "" for scope, one in stops(conn).items()}


def stop(conn: Connection, scope: str, *, by: str, reason: str | None, now: datetime) -> bool:
    """Stop one pipeline, or everything with `*`; False if it was stopped already, which stays."""
    if scope == EVERYTHING:
        statement = (
            "INSERT INTO global_stop (stopped_at, stopped_by, reason) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING"
        )
        return conn.execute(statement, (now, by, reason)).rowcount == 1
    register_pipelines(conn, [scope])
    return _switch(conn, scope, enabled=False, by=by, reason=reason, now=now)


def resume(conn: Connection, scope: str, *, by: str, reason: str | None, now: datetime) -> bool:
    """Let one pipeline go on, or with `*` all that were not stopped alone (SC-12).

    Returns False if there was nothing to resume. Raises PermanentError while a run is half undone.
    """
    _refuse_half_undone(conn, scope)
    if scope == EVERYTHING:
        return conn.execute("DELETE FROM global_stop").rowcount == 1
    return _switch(conn, scope, enabled=True, by=by, reason=reason, now=now)


def _refuse_half_undone(conn: Connection, scope: str) -> None:
    row = conn.execute(
        "SELECT run_id FROM undone_runs WHERE state = 'BEGUN' AND %s IN (pipeline, %s) LIMIT 1",
        (scope, EVERYTHING),
    ).fetchone()
    if row is not None:
        raise PermanentError(
            f"The undo of run {row[0]} was begun and has not ended; `undo {row[0]} --apply` "
            "finishes it, then resume."
        )


def _switch(
    conn: Connection, pipeline: str, *, enabled: bool, by: str, reason: str | None, now: datetime
) -> bool:
    return (
        conn.execute(
            "UPDATE pipelines SET enabled = %s, changed_at = %s, changed_by = %s, reason = %s"
            " WHERE pipeline_id = %s AND enabled <> %s",
            (enabled, now, by, reason, pipeline, enabled),
        ).rowcount
        == 1
    )
