"""The audit of staged silver: contract expectations and the runbook's blocking thresholds."""

from functools import cache

from pipeline_platform.advisory_performance.run_context import FOLDER
from pipeline_platform.advisory_performance.tables import (
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.quality.contracts import Contract

SILVER_TABLES = (VALUATIONS, EXTERNAL_FLOWS, REPORTED_RETURNS)


@cache
def contracts() -> dict[str, Contract]:
    """Read the data contract of each silver table once per process."""
    return {
        table.name: Contract.load(FOLDER / "contracts" / f"{table.name}.yaml")
        for table in SILVER_TABLES
    }
