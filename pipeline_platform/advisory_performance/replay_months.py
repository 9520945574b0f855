"""Which months a replay concerns, and what gold holds of them."""

from collections.abc import Iterable
from datetime import date

from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE, TIME_WEIGHTED_RETURNS
from pipeline_platform.partition_ranges import dates_in, month_range
from pipeline_platform.warehouse import control


def months_to_process(run: RunContext, requested: Iterable[str]) -> list[date]:
    """Return what the workflow would cover if these months were requested too; [] for none."""
    wanted = {date.fromisoformat(key) for key in requested}
    if not wanted:
        return []
    with run.services.database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)
    wanted |= {date.fromisoformat(key) for key in pending}
    present = dates_in(run.services.lake.partitions(TIME_WEIGHTED_RETURNS))
    return month_range(min(wanted), max([*wanted, *present]))


def account_days_of(run: RunContext, months: Iterable[str]) -> int:
    """Count the account-days of gold in these months, superseded versions left out."""
    wanted = sorted(date.fromisoformat(key) for key in months)
    if not wanted:
        return 0
    keys = ", ".join(f"DATE '{month}'" for month in wanted)
    with run.services.connect() as engine:
        gold = run.services.lake.relation(
            engine, TIME_WEIGHTED_RETURNS, months=(wanted[0], wanted[-1])
        ).filter(f"is_current AND as_of_month IN ({keys})")
        counted = gold.aggregate("count(*)").fetchone()
    return int(counted[0]) if counted else 0
