"""How thresholds are measured: by group, the worst of which decides; and what all measure alike.

A pipeline's `measures.py` maps the names of its runbook to functions of a scope, each of which
returns measurements by label (a partition, a day, a file, or `all`). A value that can't be had is
"not measurable" with its reason, never a pass (B-14).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from pipeline_platform.quality.measurements import (
    Measurement,
    Verdict,
    judge,
    percentage,
    unmeasured,
)
from pipeline_platform.quality.observations import history
from pipeline_platform.quality.thresholds import SEVERITIES, Threshold
from pipeline_platform.run_context import RunContext
from pipeline_platform.streams import reads

Labelled = Mapping[str, Measurement]
Run = TypeVar("Run", bound=RunContext)
ALL = "all"
SECONDS_PER_MINUTE = 60
SECONDS_PER_DAY = 86_400
HISTORY_LENGTH = 60
RUN_WINDOW = timedelta(days=7)
FILE_WINDOW = timedelta(days=1)
STEP_WINDOW = timedelta(days=1)
STREAM_WINDOW = timedelta(hours=1)


class Runs(Protocol):
    """Who knows how a pipeline's runs ended; Dagster stays out of what is measured."""

    def ended(self) -> Sequence[tuple[str, bool]]:
        """Return each ended run that took in or computed, and whether it succeeded."""
        ...

    def unmended(self) -> Sequence[str]:
        """Return the failed runs that nothing made good since."""
        ...


@dataclass(frozen=True)
class Scope(Generic[Run]):
    """What is measured: a run's surroundings and the partitions in question, oldest first.

    `runs` knows how the pipeline's runs of the last seven days ended; None where Dagster's storage
    isn't at hand.
    """

    run: Run
    partitions: tuple[date, ...]
    runs: Runs | None = None

    @property
    def pipeline(self) -> str:
        """The pipeline whose runbook is measured."""
        return self.run.runbook.pipeline

    def rows(self, query: str, **values: object) -> list[Any]:
        """Query PostgreSQL; `pipeline` is among the values."""
        with self.run.services.database.connection() as connection:
            named = {"pipeline": self.pipeline, **values}
            return connection.execute(query.encode(), named).fetchall()


Measure = Callable[[Scope[Run]], Labelled]


def measure(
    scope: Scope[Run], threshold: Threshold, measures: Mapping[str, Measure[Run]]
) -> tuple[Measurement, Verdict]:
    """Measure one threshold and judge it: the worst of its groups is the result.

    A group that fails goes before one that can't be measured only if any fails; the offenders are
    then the labels of all failing groups. Groups that can't be measured count only if none can.
    """
    labelled = measures[threshold.name](scope)
    judged = {label: (one, judge(one, threshold)) for label, one in labelled.items()}
    failed = {label: pair for label, pair in judged.items() if pair[1].outcome == "fail"}
    if failed:
        worst = min(failed.values(), key=lambda pair: _badness(pair, threshold))
        if len(judged) > 1:
            worst = (replace(worst[0], offenders=tuple(failed)), worst[1])
    else:
        measured = [pair for pair in judged.values() if pair[1].outcome == "pass"]
        if measured:
            worst = min(measured, key=lambda pair: _badness(pair, threshold))
        else:
            worst = list(judged.values())[-1] if judged else _nothing(threshold)
    return replace(worst[0], history=_earlier(scope, threshold.name)), worst[1]


def processing_latency(scope: Scope[Run]) -> Labelled:
    """Return the longest time from arrival until served, of the files of the last day, minutes."""
    now = scope.run.now()
    rows = scope.rows(
        "SELECT file_name, extract(epoch FROM coalesce(completed_at, %(now)s) - arrived_at)"
        " FROM etl_processing_log WHERE pipeline = %(pipeline)s AND status IN"
        " ('CLAIMED', 'PUBLISHED', 'COMPLETED', 'FAILED')"
        " AND coalesce(completed_at, %(now)s) > %(since)s",
        now=now,
        since=now - FILE_WINDOW,
    )
    return {ALL: _longest(scope, "processing_latency", rows)}


def files_in_time(scope: Scope[Run], partition: str) -> tuple[int, int]:
    """Return how many of a partition's files were served in time, and how many there are.

    In time is what keeps the mildest limit of the runbook's `processing_latency`.
    """
    band = scope.run.runbook.thresholds["processing_latency"].severest_first[-1]
    ((timely, files),) = scope.rows(
        "SELECT count(*) FILTER (WHERE took < %(limit)s OR (took = %(limit)s AND %(included)s)),"
        " count(*) FROM (SELECT coalesce(completed_at, %(now)s) - arrived_at AS took"
        " FROM etl_processing_log"
        " WHERE pipeline = %(pipeline)s AND %(key)s = ANY(partition_keys)) AS file",
        limit=timedelta(minutes=band.limit),
        included=band.is_inclusive,
        now=scope.run.now(),
        key=partition,
    )
    return timely, files


def processing_time(scope: Scope[Run]) -> Labelled:
    """Return the longest time that a file of the last day was in work, in minutes."""
    now = scope.run.now()
    rows = scope.rows(
        "SELECT file_name, extract(epoch FROM"
        " coalesce(processing_end_time, %(now)s) - processing_start_time)"
        " FROM etl_processing_log WHERE pipeline = %(pipeline)s"
        " AND coalesce(processing_end_time, %(now)s) > %(since)s",
        now=now,
        since=now - FILE_WINDOW,
    )
    return {ALL: _longest(scope, "processing_time_per_file", rows)}


def oldest_in_processing(scope: Scope[Run]) -> Labelled:
    """Return how long the oldest file has been in `processing/`, in minutes."""
    waiting = scope.run.services.landing(scope.pipeline).list("processing")
    now = scope.run.now()
    age = max(((now - one.modified_at).total_seconds() for one in waiting), default=0.0)
    return {
        ALL: Measurement(
            "oldest_file_in_processing",
            age / SECONDS_PER_MINUTE,
            sample_size=1,
            offenders=tuple(one.key for one in waiting),
        )
    }


def refused_files(scope: Scope[Run]) -> Labelled:
    """Return the share of the last day's files that were refused as a whole and are still held.

    No record of theirs is in the conservation ledger, so a rate of records does not see them.
    """
    rows = scope.rows(
        "SELECT log.file_name, held.rule FROM etl_processing_log AS log"
        " LEFT JOIN quarantined_files AS held ON log.status = 'QUARANTINED' AND held.state = 'HELD'"
        " AND (held.pipeline, held.file_sha256) = (log.pipeline, log.file_sha256)"
        " WHERE log.pipeline = %(pipeline)s AND log.processing_end_time > %(since)s"
        " ORDER BY log.processing_end_time DESC",
        since=scope.run.now() - FILE_WINDOW,
    )
    refused = [f"{name}: {rule}" for name, rule in rows if rule is not None]
    return {ALL: percentage("refused_files", len(refused), len(rows), offenders=refused)}


def task_latency(scope: Scope[Run]) -> Labelled:
    """Return the 95th percentile of what the steps of the last day's runs took, in seconds (SP-8).

    The steps above it offend, the slowest first.
    """
    rows = scope.rows(
        "SELECT step.key, step.value::float8 FROM pipeline_runs"
        " CROSS JOIN LATERAL jsonb_each(task_seconds) AS step"
        " WHERE pipeline_id = %(pipeline)s AND ended_at > %(since)s ORDER BY 2 DESC",
        since=scope.run.now() - STEP_WINDOW,
    )
    if not rows:
        return {ALL: unmeasured("task_latency", "no step of a recorded run ended in the last day")}
    # The smallest time that 95 of 100 steps keep.
    place = len(rows) * 5 // 100
    offenders = tuple(f"{step} {seconds:.0f} s" for step, seconds in rows[:place])
    return {
        ALL: Measurement("task_latency", rows[place][1], sample_size=len(rows), offenders=offenders)
    }


def success_rate(scope: Scope[Run]) -> Labelled:
    """Return the share of the last seven days' runs that took in or computed and succeeded."""
    name = "pipeline_success_rate"
    if scope.runs is None:
        return {ALL: unmeasured(name, "Dagster's run storage is not at hand")}
    runs = scope.runs.ended()
    failed = [run_id for run_id, succeeded in runs if not succeeded]
    return {ALL: percentage(name, len(runs) - len(failed), len(runs), offenders=failed)}


def failed_runs(scope: Scope[Run]) -> Labelled:
    """Count the jobs and ranges whose last failure nothing has made good (SW-11)."""
    name = "failed_runs"
    if scope.runs is None:
        return {ALL: unmeasured(name, "Dagster's run storage is not at hand")}
    failed = scope.runs.unmended()
    return {ALL: Measurement(name, len(failed), offenders=tuple(failed))}


def stream_health(scope: Scope[Run], stream: str | None) -> Mapping[str, Measurement]:
    """Return what a stream's ingester is measured by, by the name of its threshold (SW-3).

    `stream_silence`: minutes since the stream last answered. `stream_iterator_age`: minutes that
    the slowest shard was behind then. `stream_error_rate`: attempts of the last hour that failed,
    in percent. `stream_retention_used`: how old the oldest unread record may be by now, in percent
    of the time for which the stream keeps it. None of them is measurable without a stream.
    """
    names = ("stream_silence", "stream_iterator_age", "stream_retention_used", "stream_error_rate")
    if stream is None:
        return {name: unmeasured(name, "no stream is configured") for name in names}
    now = scope.run.now()
    with scope.run.services.database.connection() as connection:
        health = reads.stream_health(
            connection, scope.pipeline, stream, now=now, window=STREAM_WINDOW
        )
    silence, age, used, errors = names
    if health.last_read_at is None:
        never = f"the stream {stream} was never read"
        found = {name: unmeasured(name, never) for name in (silence, age, used)}
    else:
        minutes = (now - health.last_read_at).total_seconds() / SECONDS_PER_MINUTE
        behind = (health.iterator_age_ms or 0) / 1000 / SECONDS_PER_MINUTE
        found = {
            silence: Measurement(silence, minutes),
            age: Measurement(age, behind),
            used: _retention_used(used, stream, minutes + behind, health.retention_hours),
        }
    return {**found, errors: percentage(errors, health.failed_reads, health.reads)}


def _retention_used(
    name: str, stream: str, unread_minutes: float, retention_hours: int | None
) -> Measurement:
    if retention_hours is None:
        return unmeasured(
            name,
            f"the stream {stream} never said for how long it keeps records; let it be described",
        )
    kept_minutes = retention_hours * 60.0
    return Measurement(name, 100 * unread_minutes / kept_minutes, unread_minutes, kept_minutes)


def query_times(name: str, probes: Mapping[str, Callable[[], object]]) -> Labelled:
    """Time each probe once, in seconds."""
    found: dict[str, Measurement] = {}
    for label, probe in probes.items():
        started = time.perf_counter()
        probe()
        seconds = time.perf_counter() - started
        found[label] = Measurement(name, seconds, sample_size=1)
    return found


def _badness(pair: tuple[Measurement, Verdict], threshold: Threshold) -> tuple[int, float]:
    value = pair[0].value or 0.0
    severity = SEVERITIES.index(pair[1].severity or "info")
    return severity, value if threshold.direction == "at_least" else -value


def _nothing(threshold: Threshold) -> tuple[Measurement, Verdict]:
    nothing = unmeasured(threshold.name, "there is nothing to measure yet")
    return nothing, judge(nothing, threshold)


def _earlier(scope: Scope[Run], name: str) -> tuple[tuple[datetime, float], ...]:
    with scope.run.services.database.connection() as connection:
        return tuple(history(connection, scope.pipeline, name, limit=HISTORY_LENGTH))


def _longest(scope: Scope[Run], name: str, rows: Sequence[tuple[str, Any]]) -> Measurement:
    """Return the longest of files' times, in minutes; those over the mildest limit offend."""
    if not rows:
        return unmeasured(name, "no file was processed in the window")
    minutes = sorted(((float(s) / SECONDS_PER_MINUTE, file) for file, s in rows), reverse=True)
    limit = scope.run.runbook.thresholds[name].severest_first[-1].limit
    offenders = [f"{file} {value:.1f} min" for value, file in minutes if value >= limit]
    return Measurement(name, minutes[0][0], sample_size=len(minutes), offenders=tuple(offenders))
