"""Dagster's own instance: where its storage is, told to every process that we start."""

import os
from pathlib import Path

import dagster as dg

from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import database_url

ROOT = Path(__file__).parents[2]
"""Where dagster.yaml and workspace.yaml are."""
EVENT_BATCH_SIZE = 1000
"""So many of the events that announce a run's assets and checks are stored together."""


def instance_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that dagster.yaml reads; starts the embedded server if it is ours."""
    artifacts = settings.home / "dagster"
    artifacts.mkdir(parents=True, exist_ok=True)
    return {
        "DAGSTER_HOME": str(ROOT),
        "DAGSTER_POSTGRES_URL": database_url(settings, name="dagster"),
        "DAGSTER_ARTIFACTS": str(artifacts),
        "DAGSTER_EVENT_BATCH_SIZE": str(EVENT_BATCH_SIZE),
    }


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance that the UI shows."""
    os.environ.update(instance_environment(settings))
    return dg.DagsterInstance.get()
