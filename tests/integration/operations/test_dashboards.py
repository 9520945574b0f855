"""Every panel's query runs on the real databases and returns the numbers that it draws."""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from pipeline_platform.commands.arguments import PACKAGE
from pipeline_platform.commands.lake_tables import runbook_of
from pipeline_platform.operations.dashboard_panels import Panel, panels_of
from pipeline_platform.orchestration.pooled_storage import PooledPostgresStorage
from pipeline_platform.quality.conservation import LedgerEntry, record_entries
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.streams.reads import record_read
from pipeline_platform.warehouse.maintenance_log import Effect, record_end, record_start

PIPELINES = sorted(path.parent.name for path in PACKAGE.glob("*/runbook.yaml"))
OF_EACH_PIPELINE = pytest.mark.parametrize("pipeline", PIPELINES)
NOW = datetime.now(UTC)
NUMBERS = {int, float}


def interpolated(sql: str) -> str:
    """Return a query as Grafana sends it: the last day, by minute."""
    first, last = (one.isoformat() for one in (NOW - timedelta(days=1), NOW + timedelta(days=1)))
    filtered = re.sub(
        r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)", rf"\1 BETWEEN '{first}' AND '{last}'", sql
    )
    return filtered.replace("$__interval_ms", "60000")


@pytest.fixture(scope="module")
def urls(new_database) -> dict[str, str]:
    """Databases of the platform and of Dagster in which everything that is drawn has happened."""
    found = {"platform": new_database(), "dagster": new_database()}
    for pipeline in PIPELINES:
        _fill(found["platform"], pipeline)
    with psycopg.connect(found["platform"]) as connection:
        connection.execute("INSERT INTO daily_cost VALUES (%s, 'USD', false, %s)", (NOW, NOW))
        connection.execute("INSERT INTO daily_service_cost VALUES (%s, 'AmazonS3', 1.5)", (NOW,))
    _run_jobs(found["dagster"])
    return found


@pytest.fixture
def results(urls, pipeline) -> Iterator[list[tuple[Panel, list[str], list[tuple[object, ...]]]]]:
    """Run the query of every panel: the panel, its columns and its rows."""
    connections = {name: psycopg.connect(url) for name, url in urls.items()}
    found = []
    for panel in panels_of(runbook_of(pipeline)):
        if panel.database == "prometheus":
            continue  # tests/integration/api/test_exposed_metrics.py asks for these
        cursor = connections[panel.database].execute(interpolated(panel.query).encode())
        found.append((panel, [one.name for one in cursor.description or ()], cursor.fetchall()))
    yield found
    for connection in connections.values():
        connection.close()


def _fill(url: str, pipeline: str) -> None:
    runbook = runbook_of(pipeline)
    with psycopg.connect(url) as connection:
        for threshold in runbook.thresholds.values():
            verdict = judge(Measurement(threshold.name, 1.0, sample_size=1000), threshold)
            record_verdict(connection, pipeline, verdict, now=NOW)
        connection.execute(
            "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, status,"
            " records_processed, size_bytes, arrived_at, processing_start_time,"
            " processing_end_time, published_at, completed_at, run_id)"
            " VALUES (%(p)s, 'f', 'f', 'COMPLETED', 60, 1, %(t)s, %(t)s, %(t)s, %(t)s, %(t)s, 'r')",
            {"p": pipeline, "t": NOW},
        )
        connection.execute(
            "INSERT INTO pipeline_runs (run_id, pipeline_id, job_name, status, created_at,"
            " ended_at, errors) VALUES (%(p)s, %(p)s, 'j', 'FAILURE', %(t)s, %(t)s,"
            """ '[{"task": "s", "failure_class": "permanent", "message": "m"}]')""",
            {"p": pipeline, "t": NOW},
        )
        entry = LedgerEntry(pipeline, "landing_to_bronze", "f", "", 10, 9, 1, 0, 0)
        record_entries(connection, [entry], run_id="r", now=NOW)
        record_read(
            connection,
            pipeline,
            "s",
            "PUBLISHED",
            run_id="r",
            now=NOW,
            records=30,
            millis_behind_latest=60_000,
        )
        number = record_start(connection, pipeline, "silver/x", "compaction", "r")
        record_end(connection, number, "DONE", Effect())


def _run_jobs(url: str) -> None:
    storage = PooledPostgresStorage(url)
    for pipeline in PIPELINES:
        run = dg.DagsterRun(job_name=f"{pipeline}_ingest", run_id=str(uuid.uuid4()))
        storage.run_storage.add_run(run)
    with psycopg.connect(url) as connection:
        ended = NOW.timestamp()
        connection.execute("UPDATE runs SET start_time = %s, end_time = %s", (ended - 5, ended))


@OF_EACH_PIPELINE
def test_every_query_returns_the_columns_that_are_drawn(results) -> None:
    assert [(panel.title, columns) for panel, columns, _ in results] == [
        (panel.title, list(panel.columns)) for panel, _, _ in results
    ]


@OF_EACH_PIPELINE
def test_every_query_finds_what_happened(results) -> None:
    assert [panel.title for panel, _, rows in results if not rows] == []


@OF_EACH_PIPELINE
def test_what_is_drawn_are_numbers_over_time(results) -> None:
    drawn = [
        (panel.title, name, type(value))
        for panel, columns, rows in results
        if not panel.is_table
        for row in rows
        for name, value in zip(columns, row, strict=True)
        if name != "metric"
    ]
    assert {kind for _, name, kind in drawn if name == "time"} == {datetime}
    assert [one for one in drawn if one[1] != "time" and one[2] not in NUMBERS] == []


def test_figures_are_those_that_were_recorded(urls) -> None:
    found = {panel.title: panel for panel in panels_of(runbook_of("web_events"))}
    with psycopg.connect(urls["platform"]) as connection:
        figures = {
            title: connection.execute(interpolated(found[title].query).encode()).fetchall()[0][1:]
            for title in (
                "Records per minute",
                "Records of the stream per minute",
                "Behind the stream",
                "Records that did not pass a hop",
            )
        }
    assert figures == {
        "Records per minute": (60.0,),
        "Records of the stream per minute": (30.0,),
        "Behind the stream": (1.0,),
        "Records that did not pass a hop": ("landing_to_bronze", 10.0),
    }
