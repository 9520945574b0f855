"""A platform that is drilled: a real fault, its incident, one command, and all green again."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Self

import dagster as dg
import pytest
from typer.testing import Result

from pipeline_platform import run_context
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Router
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.incident_words import DryRun
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.operations.plan import alertings
from pipeline_platform.services import Services
from tests.assets.platform_runs import QUIET
from tests.drills.rows import Fault, Measured
from tests.integration.commands.conftest import Shell
from tests.integration.operations.local_channels import LocalChannels

CHANNELS = ("pagerduty", "slack", "email", "status_page")
WHOLE_WAITS = pytest.StashKey[bool]()
FAULTS = pytest.StashKey[dict[str, tuple[Fault, Measured]]]()


@dataclass
class Drilled:
    """What schedules, sensors and people do on the platform, each when a drill wants it."""

    shell: Shell
    services: Services
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    channels: LocalChannels
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, job: str, **options: object) -> dg.ExecuteInProcessResult:
        """Run a job as a schedule or sensor would."""
        config = {**QUIET, **options.pop("run_config", {})}
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=config, **options
        )

    def check(self, pipeline: str) -> None:
        """Do what the schedule `service_health` does every five minutes."""
        self.run(f"{pipeline}_service_health")

    def look(self) -> None:
        """Do what the sensor of alerts does every thirty seconds."""
        log = EventLog(self.instance, self.definitions.resolve_asset_graph(), alertings())
        Router(self.services, run_context.utc_now, self._dry_run).round(log.read)

    def command(self, line: str) -> Result:
        """Run a line of the command line in this process, as a person would."""
        return self.shell(*shlex.split(line)[1:])

    def open_incidents(self) -> Sequence[Incident]:
        with self.services.database.connection() as connection:
            return store.incidents(connection, is_open=True)

    def told(self) -> list[str]:
        """Return the titles of the messages that arrived."""
        return [str(one.body["title"]) for one in self.channels.requests if one.body]

    def _dry_run(self, command: str) -> DryRun:
        ended = self.command(command)
        return DryRun(command, ended.exit_code, ended.output, 0.1)


@dataclass
class Drill:
    """One drill: its clock runs from the fault on."""

    fault: Fault
    platform: Drilled
    incident: Incident | None = None
    began: float = 0.0
    until_alert: float | None = None
    command_began: float = 0.0

    def strikes(self) -> None:
        """Note that the fault is there from now on."""
        self.began = time.perf_counter()

    def is_seen(self, pipeline: str, *, by: str | None = None) -> Incident:
        """Let the platform look, and return the incident of the row; fails if there is none."""
        if by is not None:
            self.platform.check(by)
        self.platform.look()
        self.incident = next(
            one
            for one in self.platform.open_incidents()
            if (one.pipeline, one.route) == (pipeline, self.fault.route)
        )
        key = f"{pipeline}-incident-{self.incident.incident_id}"
        assert key in {one.body["incident_key"] for one in self.platform.channels.requests}
        self.until_alert = time.perf_counter() - self.began
        return self.incident

    def is_mended_by(self, line: str | None = None) -> Result:
        """Run the row's command, or the same with its places filled in."""
        self.command_began = time.perf_counter()
        ended = self.platform.command(line or self.fault.command)
        assert ended.exit_code == 0, ended.output
        return ended

    def is_green(self, *, by: str | None = None) -> bool:
        """Let the platform look again, and tell whether the incident has ended."""
        if by is not None:
            self.platform.check(by)
        self.platform.look()
        assert self.incident is not None
        is_open = any(
            one.incident_id == self.incident.incident_id for one in self.platform.open_incidents()
        )
        self.until_green = time.perf_counter() - self.command_began
        return not is_open

    def measured(self) -> Measured:
        assert self.until_alert is not None
        return Measured(self.until_alert, self.until_green)


@contextmanager
def moved_clock(ahead: timedelta) -> Iterator[None]:
    """Let this process's platform clock be ahead, of everything that asks `utc_now`."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + ahead

    before = run_context.datetime
    run_context.datetime = Moved
    try:
        yield
    finally:
        run_context.datetime = before
