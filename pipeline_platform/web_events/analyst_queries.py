"""The queries that analysts ask of silver and gold, whose time is measured (SW-22, SW-63, X-5).

Each is a file of `queries/`: plain SQL over the lake's names, with `$last_date` as the newest day.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path

from pipeline_platform.logged_queries import logged_query
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.services import Services
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.tables import PIPELINE, WEB_EVENTS

QUERIES = Path(__file__).with_name("queries")
DAYS = 28
"""How many days the longest of the queries looks back."""


@cache
def analyst_queries() -> Mapping[str, str]:
    """Return every query by its name."""
    return {path.stem: path.read_text("utf-8") for path in sorted(QUERIES.glob("*.sql"))}


def newest_queries(services: Services) -> Mapping[str, Callable[[], object]]:
    """Return what asks each query over the last days that silver has; nothing without any."""
    present = [*dates_in(services.lake.partitions(WEB_EVENTS))]
    if not present:
        return {}
    return {
        label: partial(run_query, services, sql, present[-1], name=label)
        for label, sql in analyst_queries().items()
    }


def run_query(
    services: Services, sql: str, last_date: date, *, name: str = "ad hoc"
) -> list[tuple[object, ...]]:
    """Run a query over the days up to `last_date`, from the catalog to the rows; it is logged."""
    span = (last_date - timedelta(days=DAYS - 1), last_date)
    with logged_query(services, PIPELINE, name) as query, services.connect() as engine:
        for table in (WEB_EVENTS, *MARTS.tables):
            if f"{'.'.join(table.identifier)}\n" in sql:
                engine.execute(f"CREATE SCHEMA IF NOT EXISTS {table.identifier[0]}")
                rows = query.pin(table, months=span).query
                engine.execute(f"CREATE VIEW {'.'.join(table.identifier)} AS {rows}")
        return engine.execute(sql, {"last_date": last_date}).fetchall()
