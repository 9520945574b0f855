"""The marts of advisory_performance, and which months building them reads."""

from datetime import date

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
from pipeline_platform.lake.marts import Mart, MartGroup
from pipeline_platform.partition_ranges import shifted


def with_month_before(first: date, last: date) -> tuple[date, date]:
    """Return a range of months with the one before: in its end lie the beginning values."""
    return shifted(first, -1), last


ROWS_PER_MEGABYTE = 5_000
"""How many valuations one build of the marts may read per megabyte of the memory limit."""

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
)
