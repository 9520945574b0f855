"""How this pipeline's tables are cut: calendar months, the current one included."""

from datetime import UTC, date, datetime

import dagster as dg

from pipeline_platform.partition_ranges import month_of, month_range

MONTHLY = dg.MonthlyPartitionsDefinition(start_date=datetime(1990, 1, 1, tzinfo=UTC), end_offset=1)
"""Vendors may deliver history back to 1990; earlier days are refused in the landing zone."""

SELF_AND_MONTH_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)


def months_of_run(context: dg.AssetExecutionContext) -> list[date]:
    """Return the first days of the months that this run covers, in order."""
    window = context.partition_time_window
    return month_range(window.start.date(), month_of(window.end.date()))[:-1]
