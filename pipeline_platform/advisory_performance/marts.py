"""The marts of advisory_performance, and which months building them reads."""

from datetime import date

from pipeline_platform.advisory_performance.account_ranges import (
    ALL_ACCOUNTS,
    account_ranges,
    rows_at_once,
)
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_PERFORMANCE,
    COMPOSITE_RETURNS,
    PIPELINE,
    QUALITY_SUMMARY,
    RECONCILIATION,
    RESTATEMENTS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_RECONCILIATION_DAILY,
)
from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.marts import Mart, MartGroup
from pipeline_platform.partition_ranges import shifted

ROWS_PER_MEGABYTE = 5_000
"""How many valuations one build of the marts may read per megabyte of the memory limit."""
BYTES_PER_ACCOUNT = 4_000
"""Memory limit that one month of an account needs while the marts join and sum it."""


def with_month_before(first: date, last: date) -> tuple[date, date]:
    """Return a range of months with the one before: in its end lie the beginning values."""
    return shifted(first, -1), last


def account_slices(lake: Lake, span: tuple[date, date]) -> list[str]:
    """Cut the accounts of a range of months into conditions whose rows fit into memory.

    A row is a month of an account, of which joins and sums hold all of a slice at once: DuckDB
    spills them, but not all of them together within a small limit.
    """
    most = rows_at_once(lake.settings, BYTES_PER_ACCOUNT)
    if lake.pin(TIME_WEIGHTED_RETURNS, months=span).row_count <= most:
        return [ALL_ACCOUNTS.condition]
    with connect(lake.settings) as engine:
        rows = lake.relation(engine, TIME_WEIGHTED_RETURNS, months=span)
        months = rows.project("account_id, as_of_month").distinct()
        return [one.condition for one in account_ranges(engine, months, most)]


MARTS = MartGroup(
    pipeline=PIPELINE,
    sources=(VALUATIONS, TIME_WEIGHTED_RETURNS, RECONCILIATION, RESTATEMENTS),
    marts=(
        Mart(ACCOUNT_PERFORMANCE),
        Mart(VENDOR_RECONCILIATION_DAILY),
        Mart(QUALITY_SUMMARY),
        Mart(COMPOSITE_RETURNS, reads=with_month_before),
    ),
    rows_per_megabyte=ROWS_PER_MEGABYTE,
    slices=account_slices,
)
