"""What is compared by hand after a recovery: the vendors' figures beside ours (SA-71)."""

from pathlib import Path

from pipeline_platform.advisory_performance.evidence import write_reconciliation_report
from pipeline_platform.advisory_performance.tables import RECONCILIATION
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.services import Services

MONTHS = 3


def write_newest_months(services: Services, path: Path) -> int:
    """Write the newest months' compared figures as CSV; return how many, 0 without any."""
    months = sorted(dates_in(services.lake.partitions(RECONCILIATION)))[-MONTHS:]
    if not months:
        return 0
    with services.connect() as engine:
        figures = services.lake.relation(engine, RECONCILIATION, months=(months[0], months[-1]))
        return write_reconciliation_report(engine, path, figures)
