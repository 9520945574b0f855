"""What is measured on the marts: the trend of quality, and how long analysts' queries take.

The functions are those of `measures.py` for the thresholds of their names.
"""

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Scope, query_times
from pipeline_platform.quality.trends import FEWEST_DAYS, Points, drop, slope_per_day
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import MARTS, QUALITY_TREND
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import WEB_EVENTS

SLOPE = "quality_trend"
DROP = "quality_drop"
QUERY_TIME = "query_time"
QUERIES = Path(__file__).with_name("queries")
QUERIED_DAYS = 35


def trend_points(services: Services, days: int) -> Points:
    """Return day and mean score of the newest days that the trend's mart has, oldest first."""
    newest = sorted(dates_in(services.lake.partitions(QUALITY_TREND)))[-1:]
    if not newest:
        return []
    span = (newest[0] - timedelta(days=days - 1), newest[0])
    with services.connect() as engine:
        rows = services.lake.relation(engine, QUALITY_TREND, months=span)
        found = rows.project("event_date, avg_quality::DOUBLE").order("event_date").fetchall()
    return [(day, score) for day, score in found]


def quality_trend(scope: Scope[RunContext]) -> Labelled:
    """Return by how much the mean score changes from day to day (SW-6, SW-27), per day."""
    return _of_trend(scope, SLOPE, slope_per_day)


def quality_drop(scope: Scope[RunContext]) -> Labelled:
    """Return how far the newest day's mean score lies below that of the days before (SW-6)."""
    return _of_trend(scope, DROP, drop)


def query_time(scope: Scope[RunContext]) -> Labelled:
    """Return how long each query of `queries/` takes over the newest days, in seconds (X-5)."""
    services = scope.run.services
    newest = sorted(dates_in(services.lake.partitions(QUALITY_TREND)))[-1:]
    if not newest:
        return {ALL: unmeasured(QUERY_TIME, "no mart has been published yet")}
    return query_times(
        QUERY_TIME,
        {
            path.stem: partial(run_query, services, path.read_text("utf-8"), newest[0])
            for path in sorted(QUERIES.glob("*.sql"))
        },
    )


def run_query(services: Services, sql: str, last_date: date) -> list[tuple[object, ...]]:
    """Run an analyst's query over the days up to `last_date`, from the catalog to the rows."""
    span = (last_date - timedelta(days=QUERIED_DAYS - 1), last_date)
    with services.connect() as engine:
        for table in (WEB_EVENTS, *MARTS.tables):
            if table.partition_by == WEB_EVENTS.partition_by:
                _create_view(services, engine, table, span)
        return engine.execute(sql, {"last_date": last_date}).fetchall()


def _create_view(
    services: Services,
    engine: duckdb.DuckDBPyConnection,
    table: LakeTable,
    span: tuple[date, date],
) -> None:
    engine.execute(f"CREATE SCHEMA IF NOT EXISTS {table.identifier[0]}")
    query = services.lake.pin(table, months=span).query
    engine.execute(f"CREATE VIEW {'.'.join(table.identifier)} AS {query}")


def _of_trend(scope: Scope[RunContext], name: str, figure: Callable[[Points], float]) -> Labelled:
    points = trend_points(scope.run.services, scope.run.runbook.rulings.trend_days)
    if len(points) < FEWEST_DAYS:
        reason = f"the trend has {len(points)} days, at least {FEWEST_DAYS} are needed"
        return {ALL: unmeasured(name, reason)}
    lowest = min(points, key=lambda point: point[1])
    return {
        ALL: Measurement(name, figure(points), sample_size=len(points), offenders=(str(lowest[0]),))
    }
