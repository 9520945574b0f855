"""What ran and what was made reaches a lineage service over real HTTP, as OpenLineage (XC-9)."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from pydantic import SecretStr

from pipeline_platform.failures import ConflictError, InvalidSettingError, UnavailableError
from pipeline_platform.operations.lineage_export import LineageExport, Told
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.run_records import EndedRun, RunError, record_run
from tests.assets.platform_runs import running, settings_at
from tests.integration.web_events.event_files import DAY, deliver, events, ingest, refine, run_of

RUN = "0d4ff1c6-3f0f-4c6e-9b70-6a2f4a2b8a11"
FAILED = "1d4ff1c6-3f0f-4c6e-9b70-6a2f4a2b8a12"
BRONZE = ("web_events", "bronze", "raw_events")
SILVER = ("web_events", "silver", "web_events")
SERVED = ("web_events", "serving", "events")
ASSETS = {BRONZE: [], SILVER: [BRONZE], SERVED: [SILVER]}
JOB = "web_events_ingest"
NOW = datetime.now(UTC)


@dataclass
class Collector:
    """What a lineage service got; it answers with `status`, to some jobs with another one."""

    address: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    status: int = 201
    status_by_job: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget everything and take everything."""
        self.events, self.keys, self.paths = [], set(), set()
        self.status, self.status_by_job = 201, {}

    def ended(self, job: str) -> dict[str, Any]:
        """Return the last event of a job that is no beginning."""
        return [
            one for one in self.events if one["job"]["name"] == job and one["eventType"] != "START"
        ][-1]


@pytest.fixture(scope="module")
def server() -> Iterator[Collector]:
    collector = Collector()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = collector.status_by_job.get(event["job"]["name"], collector.status)
            if status < 300:
                collector.events.append(event)
            collector.keys.add(self.headers.get("Authorization"))
            collector.paths.add(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        collector.address = f"http://127.0.0.1:{http.server_port}"
        yield collector
        http.shutdown()


@pytest.fixture
def collector(server: Collector) -> Collector:
    server.begin()
    return server


@pytest.fixture(scope="module")
def made(new_database, tmp_path_factory, server) -> Iterator[Services]:
    """A file in bronze and silver by one run, one load of it, and a run that failed."""
    settings = settings_at(tmp_path_factory.mktemp("lineage"), new_database())
    with Services(settings.model_copy(update={"lineage_url": server.address})) as services:
        deliver(services, "events_1.ndjson", events(5))
        ingest(run_of(services, RUN))
        refine(run_of(services, RUN), [DAY])
        with services.database.transaction() as connection:
            for run_id, job, status in ((RUN, JOB, "SUCCESS"), (FAILED, "other_job", "FAILURE")):
                why = RunError("step", "data", "The file is broken.")
                errors = (why,) if status == "FAILURE" else ()
                started = NOW - timedelta(minutes=5)
                run = EndedRun(run_id, "web_events", job, status, started, started, NOW, (), errors)
                record_run(connection, run)
            connection.execute(
                "INSERT INTO served_loads (pipeline, partition_key) VALUES ('web_events', %s)",
                (DAY.isoformat(),),
            )
        yield services


def export_of(services: Services, at_once: int = 200) -> LineageExport:
    """Return an exporter that was never used, whatever the tests before did."""
    with services.database.transaction() as connection:
        connection.execute("TRUNCATE lineage_positions")
        connection.execute("UPDATE pipeline_runs SET lineage_told_at = NULL")
    return again(services, at_once)


def again(services: Services, at_once: int = 200) -> LineageExport:
    """Return an exporter as a later process has it."""
    return LineageExport(services, ASSETS, {RUN: JOB}.get, at_once)


@contextmanager
def told_elsewhere(made: Services, **changed: object) -> Iterator[LineageExport]:
    """Give an exporter that was never used, of the same platform with other settings."""
    with Services(Settings.of({**vars(made.settings), **changed})) as services:
        yield export_of(services)


@pytest.fixture(scope="module")
def told(made: Services, server: Collector) -> Collector:
    """What the service got of one round; the tests that follow only read it."""
    server.begin()
    export_of(made).send()
    return replace(server)


def test_everything_new_is_told(made: Services, collector: Collector) -> None:
    told = export_of(made).send()
    assert told == Told(runs=2, commits=2, loads=1)


def test_events_go_to_the_path_of_openlineage(told: Collector) -> None:
    assert told.paths == {"/api/v1/lineage"}


def test_every_event_has_what_openlineage_asks_for(told: Collector) -> None:
    for event in told.events:
        assert event["eventType"] in {"START", "COMPLETE", "FAIL", "ABORT"}
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert str(UUID(event["run"]["runId"])) == event["run"]["runId"]
        assert event["job"].keys() >= {"namespace", "name"}
        assert event["producer"].startswith("urn:")
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
        facets = [*event["run"]["facets"].values(), *event["job"]["facets"].values()]
        for dataset in [*event["inputs"], *event["outputs"]]:
            assert dataset.keys() >= {"namespace", "name"}
            facets += dataset["facets"].values()
            facets += {**dataset.get("inputFacets", {}), **dataset.get("outputFacets", {})}.values()
        assert all(one.keys() >= {"_producer", "_schemaURL"} for one in facets)


def test_every_run_begins_once_and_ends_once(told: Collector) -> None:
    ids = {one["run"]["runId"] for one in told.events}
    kinds = {
        run_id: sorted(
            one["eventType"] == "START" for one in told.events if one["run"]["runId"] == run_id
        )
        for run_id in ids
    }
    assert set(map(tuple, kinds.values())) == {(False, True)}


def test_silver_is_made_from_the_snapshot_of_bronze_that_it_read(told: Collector) -> None:
    (read,) = told.ended("web_events.silver.web_events")["inputs"]
    (written,) = told.ended("web_events.bronze.raw_events")["outputs"]
    assert (read["namespace"], read["name"], read["facets"]["version"]["datasetVersion"]) == (
        written["namespace"],
        "web_events_bronze.raw_events",
        written["facets"]["version"]["datasetVersion"],
    )


def test_bronze_is_made_from_a_file_that_is_known_by_its_hash(
    made: Services, told: Collector
) -> None:
    (read,) = told.ended("web_events.bronze.raw_events")["inputs"]
    with made.database.connection() as connection:
        (sha256,) = connection.execute("SELECT file_sha256 FROM etl_processing_log").fetchone()
    assert (read["name"], read["inputFacets"]["pipelinePlatform_files"]["sha256"]) == (
        "web_events/incoming",
        [sha256],
    )


def test_an_output_has_its_columns_and_rows(told: Collector) -> None:
    (written,) = told.ended("web_events.silver.web_events")["outputs"]
    columns = {one["name"]: one["type"] for one in written["facets"]["schema"]["fields"]}
    rows = written["outputFacets"]["outputStatistics"]["rowCount"]
    assert (columns["event_date"], rows) == ("date", 5)


def test_a_commit_names_the_run_of_dagster_that_it_belongs_to(told: Collector) -> None:
    parent = told.ended("web_events.silver.web_events")["run"]["facets"]["parent"]
    run = told.ended(JOB)
    assert (parent["run"]["runId"], parent["job"]["name"]) == (run["run"]["runId"], JOB)


def test_what_is_served_is_made_from_the_lake(told: Collector) -> None:
    event = told.ended("web_events.serving.events")
    assert ([one["name"] for one in event["inputs"]], event["outputs"][0]["namespace"][:11]) == (
        ["web_events_silver.web_events"],
        "postgres://",
    )


def test_a_failed_run_says_why(told: Collector) -> None:
    event = told.ended("other_job")
    assert (event["eventType"], event["run"]["facets"]["errorMessage"]["message"]) == (
        "FAIL",
        "The file is broken.",
    )


def test_what_was_told_is_not_told_again(made: Services, collector: Collector) -> None:
    export_of(made).send()
    assert again(made).send() == Told()


def test_a_service_that_is_away_gets_everything_when_it_is_back(
    made: Services, collector: Collector
) -> None:
    collector.status_by_job = {"web_events.silver.web_events": 503}
    with pytest.raises(UnavailableError, match="503"):
        export_of(made).send()
    collector.status_by_job = {}
    assert again(made).send() == Told(commits=1, loads=1)


def test_what_is_told_twice_has_the_same_ids_and_times(
    made: Services, collector: Collector
) -> None:
    export_of(made).send()
    first = list(collector.events)
    export_of(made).send()
    assert collector.events[len(first) :] == first


def test_an_event_that_is_not_taken_holds_up_no_other(made: Services, collector: Collector) -> None:
    collector.status_by_job = {"other_job": 422}
    told = export_of(made).send()
    assert (told.refused, told.commits, told.loads) == (2, 2, 1)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_service_that_refuses_us_is_a_wrong_setting(
    made: Services, collector: Collector, status: int
) -> None:
    collector.status = status
    with pytest.raises(InvalidSettingError, match=f"{status}; check PLATFORM_LINEAGE_URL"):
        export_of(made).send()


def test_a_closed_port_is_told_later(made: Services) -> None:
    with (
        told_elsewhere(made, lineage_url="http://127.0.0.1:9") as export,
        pytest.raises(UnavailableError, match="can't be reached"),
    ):
        export.send()


def test_the_key_is_sent_and_not_shown(made: Services, collector: Collector) -> None:
    key = SecretStr("hunter2")
    with told_elsewhere(made, lineage_api_key=key) as export:
        export.send()
        shown = repr(export.services.settings)
    assert (collector.keys, "hunter2" in shown) == ({"Bearer hunter2"}, False)


def test_a_round_is_bounded_and_the_next_one_goes_on(made: Services, collector: Collector) -> None:
    told = export_of(made, at_once=2).send()
    while not told.is_complete:
        told = told.and_then(again(made, at_once=2).send())
    assert told == Told(runs=2, commits=2, loads=1)


def test_a_file_gets_a_line_for_each_event(made: Services, tmp_path: Path) -> None:
    path = tmp_path / "lineage.jsonl"
    with told_elsewhere(made, lineage_url=path.as_uri()) as export:
        export.send()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * (2 + 2 + 1)


def test_a_file_that_can_not_be_written_is_named(made: Services, tmp_path: Path) -> None:
    path = tmp_path / "no" / "lineage.jsonl"
    with (
        told_elsewhere(made, lineage_url=path.as_uri()) as export,
        pytest.raises(InvalidSettingError, match=r"no/lineage\.jsonl, which can't be written"),
    ):
        export.send()


def test_without_a_setting_it_says_so(made: Services) -> None:
    with (
        told_elsewhere(made, lineage_url=None) as export,
        pytest.raises(InvalidSettingError, match="PLATFORM_LINEAGE_URL is not set"),
    ):
        export.send()


def test_only_one_process_tells_at_a_time(made: Services, collector: Collector) -> None:
    export = export_of(made)
    with named_lock(made.database, "lineage"), pytest.raises(ConflictError):
        export.send()


def tick(settings: Settings) -> str:
    """Evaluate the sensor as the daemon does and return what it says."""
    with running(settings) as platform:
        sensor = platform.definitions.get_sensor_def("operations_lineage")
        context = dg.build_sensor_context(
            instance=platform.instance,
            definitions=platform.definitions,
            resources={"services": platform.services},
        )
        return str(sensor.evaluate_tick(context).skip_message)


def test_the_sensor_tells_of_the_platforms_own_tables(made: Services, collector: Collector) -> None:
    export_of(made)
    assert tick(made.settings) == "Told of 2 runs, 2 commits and 0 loads."


def test_the_sensor_says_that_it_is_off(made: Services) -> None:
    assert "PLATFORM_LINEAGE_URL is not set" in tick(
        made.settings.model_copy(update={"lineage_url": None})
    )
