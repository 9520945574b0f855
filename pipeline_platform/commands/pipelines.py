"""How a command comes by what a pipeline's package registers."""

import uuid
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.orchestration.registration import registration_of
from pipeline_platform.services import Services

ADVISORY = "advisory_performance"
Pipeline = Annotated[str, typer.Option("--pipeline", help="Its name or the beginning of it.")]


def reload_of(
    services: Services, pipeline: str, run_id: str
) -> Callable[[Sequence[str]], None] | None:
    """Return what loads partitions of a pipeline's serving tables again; None without such."""
    reload = registration_of(pipeline).reload
    if reload is None:
        return None
    return lambda keys: reload(services, run_id, [date.fromisoformat(key) for key in keys])


def intake_of(services: Services, pipeline: str) -> Intake:
    """Return how a pipeline reads its files, for a run of this command."""
    return registration_of(pipeline_named(pipeline)).intake(services, f"cli-{uuid.uuid4()}")
