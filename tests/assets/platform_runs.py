"""A whole platform for a test: services, an instance of Dagster, and the jobs run in process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
from pydantic import SecretStr

from pipeline_platform.advisory_performance import measurement, refinement, serving
from pipeline_platform.advisory_performance.automation import (
    WORKFLOW,
    months_to_process,
)
from pipeline_platform.advisory_performance.run_context import RunContext, shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleArrivals,
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration import dbt
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.dbt import PROJECT
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.orchestration.parsed_project import parsed_project
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

LAST_DAY = date(2024, 10, 31)
"""A day of the past, whenever the tests run."""
AUGUST, SEPTEMBER, OCTOBER = date(2024, 8, 1), date(2024, 9, 1), date(2024, 10, 1)
ARRIVED = datetime(2024, 11, 1, 6, tzinfo=UTC)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def sample(**wanted: object) -> SampleArrivals:
    """Make the files of 3 accounts per vendor and 45 business days: August to October 2024."""
    request = SampleRequest(**{"accounts": 3, "days": 45, "end": LAST_DAY, **wanted})
    return generate_arrivals(request, dict(shipped_mappings()))


def settings_at(home: Path, database_url: str) -> Settings:
    """Return settings of a platform of its own."""
    return Settings(home=home, environment="test", database_url=SecretStr(database_url))


def deliver(
    settings: Settings, name: str, content: bytes, *, arrived_at: datetime = ARRIVED
) -> None:
    """Drop a file into `incoming/` as if it had arrived at that instant."""
    path = Path(settings.raw_location) / PIPELINE / "incoming" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (arrived_at.timestamp(), arrived_at.timestamp()))


def deliver_sample(settings: Settings, made: SampleArrivals) -> None:
    """Drop every file of a sample into `incoming/`, one second after the other."""
    for number, file in enumerate(made.files):
        arrived_at = datetime.fromtimestamp(ARRIVED.timestamp() + number, UTC)
        deliver(settings, file.name, file.content, arrived_at=arrived_at)


def keep_project_parsed(settings: Settings) -> None:
    """Let a platform have dbt's project parsed before its first build, which another process does.

    Once in a session, see `project_parsed_once`: it takes seconds.
    """
    parsed_project(PROJECT, *dbt._folders(settings, settings.engine))


def process_months(run: RunContext, months: Sequence[date]) -> None:
    """Take months from bronze to PostgreSQL as the workflow's assets do, marts left out."""
    refinement.publish_months(run, refinement.stage_months(run, months))
    for work in (
        measurement.measure_range,
        measurement.reconcile_range,
        measurement.compare_versions,
        serving.serve_months,
    ):
        list(work(run, months))


@dataclass(frozen=True)
class Platform:
    """The platform as Dagster runs it, in this process."""

    services: Services
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def run(self, job: str, **options: object) -> dg.ExecuteInProcessResult:
        run_config = {**QUIET, **options.pop("run_config", {})}
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=run_config, **options
        )

    def ingest(self, keys: Sequence[str] = ()) -> dg.ExecuteInProcessResult:
        return self.run(f"{PIPELINE}_ingest", run_config=ingest_config(VENDOR_ROWS, keys))

    def process(self, first: date, last: date, **options: object) -> dg.ExecuteInProcessResult:
        return self.run(WORKFLOW, tags=range_tags(first, last), **options)

    def process_pending(self) -> dg.ExecuteInProcessResult:
        """Run what the months sensor would request."""
        _, first, last = months_to_process(self.services)
        return self.process(first, last)

    def tick(
        self, sensor: str, cursor: str | None = None
    ) -> "dg.SensorDefinition.evaluate_tick":  # its result's class is not public
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self.definitions,
            resources={"services": self.services},
        )
        return self.definitions.get_sensor_def(f"{PIPELINE}_{sensor}").evaluate_tick(context)


@contextmanager
def running(settings: Settings) -> Iterator[Platform]:
    """Open a platform; nothing of it remains open afterwards."""
    with Services(settings) as services, dg.DagsterInstance.ephemeral() as instance:
        yield Platform(services, instance, build_defs(settings, {"services": services}))
