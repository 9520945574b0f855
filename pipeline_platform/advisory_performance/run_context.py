"""What every hop of the pipeline is given: services, runbook, mappings, the run and a clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pipeline_platform.advisory_performance.vendors import VendorMapping, load_mappings
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services

FOLDER = Path(__file__).parent


def utc_now() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)


@cache
def load_runbook() -> Runbook:
    """Read this pipeline's runbook once per process."""
    return Runbook.load(FOLDER / "runbook.yaml")


@cache
def shipped_mappings() -> Mapping[str, VendorMapping]:
    """Read the vendors' mappings once per process."""
    return load_mappings()


@dataclass(frozen=True)
class RunContext:
    """One run's surroundings; `clock` is passed in so that tests decide what time it is."""

    services: Services
    run_id: str
    clock: Callable[[], datetime] = utc_now
    runbook: Runbook = field(default_factory=load_runbook)
    mappings: Mapping[str, VendorMapping] = field(default_factory=shipped_mappings)

    def now(self) -> datetime:
        """Return the instant to record."""
        return self.clock()
