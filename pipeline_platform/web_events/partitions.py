"""How this pipeline's tables are cut: UTC days, today included."""

from datetime import UTC, date, datetime

import dagster as dg

from pipeline_platform.partition_ranges import ONE_DAY, day_range

DAILY = dg.DailyPartitionsDefinition(start_date=datetime(1990, 1, 1, tzinfo=UTC), end_offset=1)
"""Logs may reach back to 1990; earlier records are rejected in the landing zone."""


def days_of_run(context: dg.AssetExecutionContext) -> list[date]:
    """Return the days that this run covers, in order."""
    window = context.partition_time_window
    return day_range(window.start.date(), window.end.date() - ONE_DAY)
