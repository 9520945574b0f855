"""`pipeline_runs`, `task_totals` and `latest_tasks`: ended runs, and what their steps took (SC-15).

Dagster's runs may be cleaned up, so what a counter must not lose is added up here, once per run.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline_platform.failures import FailureKind

Connection = psycopg.Connection[Any]
Stage = Literal["extraction", "transformation", "loading"]
BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper ends, in seconds, of the histogram of task durations; SP-8 asks about 300 and 600."""
STOPPED = "STOPPED"
"""Status of a run that ended because somebody stopped its pipeline; all others are Dagster's."""
SEEN_AGAIN = timedelta(hours=1)
"""Runs are looked at again for so long: one that ended earlier may be stored later."""


@dataclass(frozen=True)
class Task:
    """One step of a run; `stage` is None for what neither extracts, transforms nor loads.

    `peak_bytes` is the most memory its process held; None where it was not measured.
    """

    name: str
    succeeded: bool
    seconds: float
    stage: Stage | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class RunError:
    """Why a step, or the run itself, failed: one sentence and its class."""

    task: str | None
    failure_class: str
    message: str


@dataclass(frozen=True)
class EndedRun:
    """A run of a pipeline with its steps; `is_work` if it took in or computed something."""

    run_id: str
    pipeline: str
    job: str
    status: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime
    tasks: Sequence[Task] = field(default_factory=tuple)
    errors: Sequence[RunError] = field(default_factory=tuple)
    failure_kind: FailureKind | None = None
    is_work: bool = True


def stage_milliseconds(tasks: Sequence[Task]) -> dict[Stage, int | None]:
    """Return how long each stage took in all; None where it had no step (SC-8)."""
    stages: tuple[Stage, ...] = ("extraction", "transformation", "loading")
    found: dict[Stage, int | None] = {}
    for stage in stages:
        times = [task.seconds for task in tasks if task.stage == stage]
        found[stage] = round(1000 * sum(times)) if times else None
    return found


def recorded_until(conn: Connection) -> datetime | None:
    """Return from when on ended runs may not be recorded yet; None = all."""
    row = conn.execute(
        "SELECT greatest((SELECT max(ended_at) FROM pipeline_runs),"
        " (SELECT max(last_ended_at) FROM task_totals))"
    ).fetchone()
    return row[0] - SEEN_AGAIN if row and row[0] else None


def unrecorded(conn: Connection, run_ids: Sequence[str]) -> set[str]:
    """Return those of these runs that are not recorded."""
    rows = conn.execute(
        "SELECT id FROM unnest(%s::text[]) AS id"
        " WHERE NOT EXISTS (SELECT FROM pipeline_runs WHERE run_id = id)",
        (list(run_ids),),
    ).fetchall()
    return {row[0] for row in rows}


def record_run(conn: Connection, run: EndedRun) -> bool:
    """Record an ended run and add its steps to the totals, once; False if it was known."""
    stages = stage_milliseconds(run.tasks)
    inserted = conn.execute(
        """
        INSERT INTO pipeline_runs (
            run_id, pipeline_id, job_name, status, created_at, started_at, ended_at,
            extraction_duration_ms, transformation_duration_ms, loading_duration_ms, errors,
            succeeded_tasks, failed_tasks, task_seconds, is_work
        ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (
            run.run_id,
            run.pipeline,
            run.job,
            run.status,
            run.created_at,
            run.started_at,
            run.ended_at,
            stages["extraction"],
            stages["transformation"],
            stages["loading"],
            Jsonb([vars(error) for error in run.errors]),
            sum(task.succeeded for task in run.tasks),
            sum(not task.succeeded for task in run.tasks),
            Jsonb({task.name: task.seconds for task in run.tasks}),
            run.is_work,
        ),
    )
    if inserted.rowcount == 0:
        return False
    for status, succeeded in (("success", True), ("failure", False)):
        times = [task.seconds for task in run.tasks if task.succeeded == succeeded]
        if times:
            _add(conn, run, status, times)
    _keep_latest(conn, run)
    return True


def _keep_latest(conn: Connection, run: EndedRun) -> None:
    """Keep what each successful step took, until a later run of it ends."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO latest_tasks AS latest
                (pipeline_id, task_name, seconds, peak_memory_bytes, run_id, ended_at)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (pipeline_id, task_name) DO UPDATE SET
                seconds = excluded.seconds,
                peak_memory_bytes = coalesce(excluded.peak_memory_bytes, latest.peak_memory_bytes),
                run_id = excluded.run_id,
                ended_at = excluded.ended_at
            WHERE excluded.ended_at >= latest.ended_at
            """,
            [
                (run.pipeline, one.name, one.seconds, one.peak_bytes, run.run_id, run.ended_at)
                for one in run.tasks
                if one.succeeded
            ],
        )


def latest_tasks(conn: Connection) -> list[dict[str, Any]]:
    """Return pipeline_id, task_name, seconds and peak_memory_bytes of steps' last success."""
    return _rows(
        conn,
        "SELECT pipeline_id, task_name, seconds, peak_memory_bytes FROM latest_tasks"
        " ORDER BY pipeline_id, task_name",
        {},
    )


def latest_stages(conn: Connection) -> list[dict[str, Any]]:
    """Return pipeline_id, stage and seconds of each stage's last successful run (SC-8)."""
    return _rows(
        conn,
        """
        SELECT DISTINCT ON (pipeline_id, stage)
            pipeline_id, stage, milliseconds / 1000.0::float8 AS seconds
        FROM pipeline_runs CROSS JOIN LATERAL (VALUES
            ('extraction', extraction_duration_ms),
            ('transformation', transformation_duration_ms),
            ('loading', loading_duration_ms)
        ) AS stages (stage, milliseconds)
        WHERE status = 'SUCCESS' AND milliseconds IS NOT NULL
        ORDER BY pipeline_id, stage, ended_at DESC
        """,
        {},
    )


def _add(conn: Connection, run: EndedRun, status: str, times: Sequence[float]) -> None:
    counts = [0] * (len(BUCKETS) + 1)
    for seconds in times:
        counts[bisect_left(BUCKETS, seconds)] += 1
    conn.execute(
        """
        INSERT INTO task_totals AS total
            (pipeline_id, status, task_count, seconds, bucket_counts, last_ended_at)
        VALUES (%(pipeline)s, %(status)s, %(count)s, %(seconds)s, %(counts)s, %(ended_at)s)
        ON CONFLICT (pipeline_id, status) DO UPDATE SET
            task_count = total.task_count + excluded.task_count,
            seconds = total.seconds + excluded.seconds,
            bucket_counts = ARRAY(
                SELECT coalesce(ours, 0) + coalesce(theirs, 0)
                FROM unnest(total.bucket_counts, excluded.bucket_counts)
                    WITH ORDINALITY AS counts (ours, theirs, place) ORDER BY place
            ),
            last_ended_at = greatest(total.last_ended_at, excluded.last_ended_at)
        """,
        {
            "pipeline": run.pipeline,
            "status": status,
            "count": len(times),
            "seconds": sum(times),
            "counts": counts,
            "ended_at": run.ended_at,
        },
    )


def task_totals(conn: Connection) -> list[dict[str, Any]]:
    """Return pipeline_id, status, task_count, seconds and bucket_counts (not cumulated)."""
    return _rows(conn, "SELECT * FROM task_totals ORDER BY pipeline_id, status", {})


def run_counts(conn: Connection, since: datetime) -> list[dict[str, Any]]:
    """Return pipeline_id, status and run_count of all runs that ended since an instant."""
    return _rows(
        conn,
        "SELECT pipeline_id, status, count(*) AS run_count FROM pipeline_runs"
        " WHERE ended_at >= %(since)s GROUP BY 1, 2 ORDER BY 1, 2",
        {"since": since},
    )


def success_rates(conn: Connection, since: datetime) -> list[dict[str, Any]]:
    """Return pipeline_id and success_pct of the runs of work that ended since an instant (SP-6).

    As the threshold on it counts them (X-1): what somebody stopped neither succeeded nor failed,
    and a pipeline without any such run has no rate.
    """
    return _rows(
        conn,
        "SELECT pipeline_id, 100.0::float8 * count(*) FILTER (WHERE status = 'SUCCESS') / count(*)"
        " AS success_pct FROM pipeline_runs"
        " WHERE ended_at >= %(since)s AND is_work AND status <> %(stopped)s GROUP BY 1 ORDER BY 1",
        {"since": since, "stopped": STOPPED},
    )


def last_successes(conn: Connection) -> list[dict[str, Any]]:
    """Return pipeline_id and when its last successful run ended (SP-5)."""
    return _rows(
        conn,
        "SELECT pipeline_id, max(ended_at) AS ended_at FROM pipeline_runs"
        " WHERE status = 'SUCCESS' GROUP BY 1 ORDER BY 1",
        {},
    )


def _rows(conn: Connection, query: str, values: dict[str, object]) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
