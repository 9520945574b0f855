"""One platform for all drills: a server of its own, taken-in files, and channels that answer."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from pipeline_platform.advisory_performance import ingestion
from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.commands import run_ending
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration import failures
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from tests.assets.platform_runs import deliver, process_months, sample
from tests.drills.drilling import CHANNELS, FAULTS, WHOLE_WAITS, Drill, Drilled
from tests.drills.rows import Fault
from tests.integration.commands.conftest import Shell
from tests.integration.operations.local_channels import LocalChannels


class DrillShell(Shell):
    """Commands that know the channels."""

    channels: LocalChannels

    @property
    def environment(self) -> dict[str, str]:
        here = {name: f"json://{self.channels.address}/{name}" for name in CHANNELS}
        return {**super().environment, "PLATFORM_CHANNELS": json.dumps(here)}


@pytest.fixture(scope="package")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    """A platform with the vendor files of the last weeks, in which all is green."""
    home = tmp_path_factory.mktemp("drills") / "home"
    with LocalChannels() as channels:
        shell = DrillShell(home)
        shell.channels = channels
        settings = Settings.from_env(shell.environment)
        embedded.start(settings)
        try:
            with Services(settings) as services, open_instance(settings) as instance:
                definitions = build_defs(settings, {"services": services})
                drilled = Drilled(shell, services, instance, definitions, channels)
                take_in(services)
                drilled.run("advisory_performance_months_made_ahead")
                drilled.check("advisory_performance")
                drilled.look()
                assert [one.title for one in drilled.open_incidents()] == []
                yield drilled
        finally:
            embedded.stop(settings)


def take_in(services: Services) -> None:
    """Take a sample up to yesterday to PostgreSQL."""
    yesterday = utc_now().date() - timedelta(days=1)
    for number, file in enumerate(sample(accounts=2, days=25, end=yesterday).files):
        deliver(
            services.settings, file.name, file.content,
            arrived_at=utc_now() - timedelta(minutes=30) + timedelta(seconds=number),
        )  # fmt: skip
    run = RunContext(services, "before the drills")
    list(ingestion.ingest_arrivals(run))
    while pending := months_to_process(services):
        months = month_range(*pending[1:])
        process_months(run, months)


@pytest.fixture(autouse=True)
def _waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a step once, and let a process end at once, but where the table is measured."""
    if not request.config.stash.get(WHOLE_WAITS, False):
        monkeypatch.setattr(failures, "MAX_RETRIES", 0)
        monkeypatch.setattr(run_ending, "SECONDS_TO_END", 0.2)


@pytest.fixture
def drill(drilled: Drilled, request: pytest.FixtureRequest) -> Iterator[Callable[[Fault], Drill]]:
    """Begin a drill; what it measured is kept for the table."""
    begun: list[Drill] = []

    def begin(fault: Fault) -> Drill:
        drilled.channels.requests.clear()
        begun.append(Drill(fault, drilled))
        return begun[-1]

    yield begin
    for one in begun:
        kept = request.config.stash.setdefault(FAULTS, {})
        kept[one.fault.name] = (one.fault, one.measured())
