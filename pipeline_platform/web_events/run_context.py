"""What every hop of this pipeline is given: the platform's surroundings, runbook and sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline_platform import run_context
from pipeline_platform.web_events import bots
from pipeline_platform.web_events.rulings import Runbook
from pipeline_platform.web_events.sources import SourceMapping, load_mappings

FOLDER = Path(__file__).parent


@cache
def load_runbook() -> Runbook:
    """Read this pipeline's runbook once per process."""
    return Runbook.load(FOLDER / "runbook.yaml")


@cache
def shipped_sources() -> Mapping[str, SourceMapping]:
    """Read the source mappings once per process."""
    return load_mappings()


@dataclass(frozen=True)
class RunContext(run_context.RunContext):
    """One run's surroundings, with the runbook, source mappings and bot rules that it uses."""

    runbook: Runbook = field(default_factory=load_runbook)
    sources: Mapping[str, SourceMapping] = field(default_factory=shipped_sources)
    bot_rules: Path = bots.FOLDER
