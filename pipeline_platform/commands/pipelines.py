"""What commands must know of each pipeline: how files are read, days processed, tables served."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

import typer

from pipeline_platform.advisory_performance import automation as advisory_automation
from pipeline_platform.advisory_performance.ingestion import VendorFiles
from pipeline_platform.advisory_performance.run_context import RunContext as AdvisoryRun
from pipeline_platform.advisory_performance.serving import reload_months
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.sensors import RequestedRange
from pipeline_platform.partition_ranges import Unit
from pipeline_platform.services import Services
from pipeline_platform.web_events import automation as web_events_automation
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext as WebEventsRun
from pipeline_platform.web_events.tables import RAW_EVENTS


@dataclass(frozen=True)
class Work:
    """How a pipeline's partitions are processed.

    `requested` says which ranges wait for a run of the job `workflow`. `is_linked`: later
    partitions are computed from earlier ones.
    """

    unit: Unit
    bronze: LakeTable
    workflow: str
    requested: Callable[[Services], Sequence[RequestedRange]]
    is_linked: bool = False


ADVISORY = "advisory_performance"
Pipeline = Annotated[str, typer.Option("--pipeline", help="Its name or the beginning of it.")]
_INTAKES: Mapping[str, Callable[[Services, str], Intake]] = {
    ADVISORY: lambda services, run_id: VendorFiles(AdvisoryRun(services, run_id)),
    "web_events": lambda services, run_id: EventFiles(WebEventsRun(services, run_id)),
}

WORK: Mapping[str, Work] = {
    ADVISORY: Work(
        "month",
        VENDOR_ROWS,
        advisory_automation.WORKFLOW,
        advisory_automation.requested_range,
        is_linked=True,
    ),
    "web_events": Work(
        "day",
        RAW_EVENTS,
        web_events_automation.WORKFLOW,
        web_events_automation.requested_ranges,
    ),
}
_RELOADS: Mapping[str, Callable[[Services, str, Sequence[date]], None]] = {
    ADVISORY: lambda services, run_id, months: reload_months(AdvisoryRun(services, run_id), months),
}


def reload_of(
    services: Services, pipeline: str, run_id: str
) -> Callable[[Sequence[str]], None] | None:
    """Return what loads partitions of a pipeline's serving tables again; None without such."""
    reload = _RELOADS.get(pipeline)
    if reload is None:
        return None
    return lambda keys: reload(services, run_id, [date.fromisoformat(key) for key in keys])


def intake_of(services: Services, pipeline: str) -> Intake:
    """Return how a pipeline reads its files, for a run of this command."""
    return _INTAKES[pipeline_named(pipeline)](services, f"cli-{uuid.uuid4()}")
