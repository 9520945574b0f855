"""What commands must know of each pipeline to work on its files: how they are read."""

import uuid
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.run_context import RunContext as AdvisoryRun
from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext as WebEventsRun

ADVISORY = "advisory_performance"
Pipeline = Annotated[str, typer.Option("--pipeline", help="Its name or the beginning of it.")]
_INTAKES: Mapping[str, Callable[[Services, str], Intake]] = {
    ADVISORY: lambda services, run_id: VendorFiles(AdvisoryRun(services, run_id)),
    "web_events": lambda services, run_id: EventFiles(WebEventsRun(services, run_id)),
}


def intake_of(services: Services, pipeline: str) -> Intake:
    """Return how a pipeline reads its files, for a run of this command."""
    return _INTAKES[pipeline_named(pipeline)](services, f"cli-{uuid.uuid4()}")
