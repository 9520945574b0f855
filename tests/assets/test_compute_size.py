"""How much a run may use: by the size of its files, or as somebody launched it (SA-53, SA-79)."""

import os
from pathlib import Path

import duckdb
import pytest

from pipeline_platform import services as services_module
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.lake import engine
from pipeline_platform.orchestration.compute import ComputeSize, memory_for
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.web_events.tables import RAW_EVENTS
from tests.assets.platform_runs import ARRIVED, deliver, running
from tests.integration.web_events.event_files import deliver as deliver_events
from tests.integration.web_events.event_files import events

MEGABYTE = 1024 * 1024


@pytest.fixture
def platform(settings):
    with running(settings) as opened:
        yield opened


@pytest.mark.parametrize(
    ("size_bytes", "memory_limit"),
    [(1, "512MB"), (128 * MEGABYTE, "512MB"), (200 * MEGABYTE, "800MB"), (2**30, "2000MB")],
)
def test_an_arrival_is_requested_with_memory_by_its_size(
    platform, size_bytes, memory_limit
) -> None:
    deliver(platform.settings, "standard_1.csv", b"x")
    path = Path(platform.settings.raw_location) / PIPELINE / "incoming" / "standard_1.csv"
    os.truncate(path, size_bytes)  # sparse: as large as it says, without that much content
    os.utime(path, (ARRIVED.timestamp(), ARRIVED.timestamp()))

    (request,) = platform.tick("arrivals").run_requests

    config = request.run_config["ops"][f"{PIPELINE}__bronze__vendor_rows"]["config"]
    assert config["memory_limit"] == memory_limit


@pytest.mark.parametrize("size_bytes", [1, 20 * 2**30])
def test_no_arrival_gets_more_than_one_run_may_use(settings, size_bytes) -> None:
    small = settings.model_copy(update={"memory_limit": "128MB"})

    assert memory_for(size_bytes, small) == "128MB"


def test_files_of_one_request_are_sized_together(platform) -> None:
    for name in ("standard_1.csv", "standard_2.csv"):
        deliver(platform.settings, name, b"x" * 80 * MEGABYTE)

    (request,) = platform.tick("arrivals").run_requests

    config = request.run_config["ops"][f"{PIPELINE}__bronze__vendor_rows"]["config"]
    assert config["memory_limit"] == "640MB"


def test_a_launched_size_is_what_duckdb_of_the_run_gets(platform, monkeypatch) -> None:
    """DuckDB gets half of the step's limit: the rest is Arrow's and Python's."""
    deliver_events(platform.services, "events_1.ndjson", events(3))
    found = record_sizes(monkeypatch)
    config = ingest_config(RAW_EVENTS, ["events_1.ndjson"], "640MB")
    config["ops"]["web_events__bronze__raw_events"]["config"]["threads"] = 3

    assert platform.run("web_events_ingest", run_config=config).success

    assert (size_of("320MB"), 3) in found


def size_of(memory_limit: str) -> str:
    """Say a limit in DuckDB's own words."""
    with duckdb.connect(config={"memory_limit": memory_limit}) as opened:
        return opened.execute("SELECT current_setting('memory_limit')").fetchone()[0]


def record_sizes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """Note what every DuckDB that is opened from now on says of its own size."""
    found = set()

    def connect(*arguments: object, **options: object) -> object:
        opened = engine.connect(*arguments, **options)
        says = "SELECT current_setting('memory_limit'), current_setting('threads')"
        found.add(opened.execute(says).fetchone())
        return opened

    monkeypatch.setattr(services_module, "connect", connect)
    return found


def test_without_a_launched_size_the_settings_count(platform) -> None:
    assert ComputeSize().sized(platform.services) is platform.services


def test_a_size_that_cannot_be_is_refused(platform) -> None:
    with pytest.raises(InvalidSettingError, match="MEMORY_LIMIT"):
        ComputeSize(memory_limit="much").sized(platform.services)
