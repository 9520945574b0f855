"""What every hop of this pipeline is given: the platform's surroundings, runbook and mappings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline_platform import run_context
from pipeline_platform.advisory_performance.rulings import Runbook
from pipeline_platform.advisory_performance.vendors import VendorMapping, load_mappings

FOLDER = Path(__file__).parent


@cache
def load_runbook() -> Runbook:
    """Read this pipeline's runbook once per process."""
    return Runbook.load(FOLDER / "runbook.yaml")


@cache
def shipped_mappings() -> Mapping[str, VendorMapping]:
    """Read the vendors' mappings once per process."""
    return load_mappings()


@dataclass(frozen=True)
class RunContext(run_context.RunContext):
    """One run's surroundings, with the runbook and the vendors' mappings that it uses."""

    runbook: Runbook = field(default_factory=load_runbook)
    mappings: Mapping[str, VendorMapping] = field(default_factory=shipped_mappings)
