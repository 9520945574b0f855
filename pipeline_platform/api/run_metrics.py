"""Metrics of runs: steps, stages and outcomes, read from the records of runs that ended."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from pipeline_platform.api.machine_metrics import gauge
from pipeline_platform.api.platform import Platform
from pipeline_platform.partition_ranges import ONE_DAY
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import run_records


def run_state(platform: Platform) -> Iterator[Metric]:
    """Yield what steps and stages took, and how runs ended (SP-5 to SP-9, SC-8)."""
    services, now = platform.services, utc_now()
    platform.recorder.record_ended(services)
    with services.database.connection() as connection:
        totals = run_records.task_totals(connection)
        latest = run_records.latest_tasks(connection)
        stage_times = run_records.latest_stages(connection)
        counts = run_records.run_counts(connection, now - ONE_DAY)
        shares = run_records.success_rates(connection, now - ONE_DAY)
        successes = run_records.last_successes(connection)
    tasks = CounterMetricFamily(
        "potato_pipeline_tasks",
        "Steps of runs that ended (SP-7).",
        labels=["pipeline", "status"],
    )
    durations = HistogramMetricFamily(
        "potato_pipeline_task_duration_seconds",
        "How long steps took (SP-9).",
        labels=["pipeline"],
    )
    by_pipeline: dict[str, list[dict[str, Any]]] = {}
    # A series that begins with its first failure would hide that one from `increase`.
    ended_tasks = {
        (pipeline, status): 0
        for pipeline in platform.pipelines
        for status in ("success", "failure")
    }
    for row in totals:
        ended_tasks[row["pipeline_id"], row["status"]] = row["task_count"]
        by_pipeline.setdefault(row["pipeline_id"], []).append(row)
    for (pipeline, status), count in ended_tasks.items():
        tasks.add_metric([pipeline, status], count)
    ends = [*map(str, run_records.BUCKETS), "+Inf"]
    for pipeline, rows in by_pipeline.items():
        summed = [sum(place) for place in zip(*(one["bucket_counts"] for one in rows), strict=True)]
        durations.add_metric(
            [pipeline],
            buckets=list(zip(ends, accumulate(summed), strict=True)),
            sum_value=sum(one["seconds"] for one in rows),
        )
    labels = ["pipeline", "task"]
    seconds = gauge("pipeline_task_seconds", "Of its last success (SA-56).", labels)
    peaks = gauge(
        "pipeline_task_peak_memory_bytes",
        "Most memory of a step's process in its last success (SA-56).",
        labels,
    )
    for row in latest:
        names = [row["pipeline_id"], row["task_name"]]
        seconds.add_metric(names, row["seconds"])
        if row["peak_memory_bytes"] is not None:
            peaks.add_metric(names, row["peak_memory_bytes"])
    stages = gauge(
        "pipeline_stage_seconds",
        "Of extraction, transformation and loading in the last successful run that had it (SC-8).",
        ["pipeline", "stage"],
    )
    for row in stage_times:
        stages.add_metric([row["pipeline_id"], row["stage"]], row["seconds"])
    last = gauge(
        "potato_pipeline_last_successful_run_timestamp",
        "When the last successful run ended (SP-5).",
        ["pipeline"],
    )
    for row in successes:
        last.add_metric([row["pipeline_id"]], row["ended_at"].timestamp())
    runs = gauge("pipeline_runs", "Runs that ended in 24 hours.", ["pipeline", "status"])
    for row in counts:
        runs.add_metric([row["pipeline_id"], row["status"].lower()], row["run_count"])
    rates = gauge(
        "pipeline_success_rate_pct", "Successful among runs of work of 24 hours.", ["pipeline"]
    )
    for row in shares:
        rates.add_metric([row["pipeline_id"]], row["success_pct"])
    yield from (tasks, durations, seconds, peaks, stages, last, runs, rates)
