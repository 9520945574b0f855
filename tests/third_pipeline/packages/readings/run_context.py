"""What every hop of readings is given."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline_platform import run_context
from pipeline_platform.runbook import Runbook


@cache
def load_runbook() -> Runbook:
    """Read this pipeline's runbook once per process."""
    return Runbook.load(Path(__file__).with_name("runbook.yaml"))


@dataclass(frozen=True)
class RunContext(run_context.RunContext):
    """One run's surroundings, with the runbook that it uses."""

    runbook: Runbook = field(default_factory=load_runbook)
