"""What the service tells, over real HTTP, of a platform that did real work."""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline_platform.api.health import SHARED_SECONDS
from pipeline_platform.warehouse import embedded
from tests.integration.api.conftest import SECRETS, TOKENS, Service

PIPELINE = "advisory_performance"
ROWS = {
    "potato_pipeline_tasks_total": "SP-7",
    "potato_pipeline_task_duration_seconds_bucket": "SP-9",
    "potato_pipeline_last_successful_run_timestamp": "SP-5",
    "pipeline_success_rate_pct": "SP-6",
    "pipeline_file_duration_seconds_max": "SA-86",
    "pipeline_start_delay_seconds_max": "SA-56",
    "pipeline_task_seconds": "SA-56",
    "pipeline_stage_seconds": "SC-8",
    "pipeline_task_peak_memory_bytes": "SA-56",
    "database_connections": "SA-23",
    "database_query_seconds": "SA-87",
    "lake_table_bytes": "SW-24",
    "landing_bytes": "SA-40",
    "archive_bytes": "SA-40",
    "temp_bytes": "SA-40",
    "host_memory_used_pct": "SP-29",
    "capacity_limit": "SW-66",
    "pipeline_stopped": "XC-5",
}


READ_BY_RUNBOOK = [
    ("SC-1", "/health", "status"),
    ("SC-2", "/metrics", "activeCDCEngines"),
    ("SC-3", "/quality/reports/latest", "issues"),
    ("SC-4", "/quality/reports/{run}", "dimensions"),
    ("SC-4", "/quality/reports/{run}", "issues"),
    ("SC-6", "/pipelines/{pipeline}/runs", 0),
    ("SC-7", "/pipelines/{pipeline}/runs/{run}", "errors"),
    ("SC-7", "/pipelines/{pipeline}/runs/{run}", "metrics"),
    ("X-18, ST-15", "/health", "version"),
    ("X-18, ST-15", "/health", "environment"),
]
"""Row, path, and what the runbook's command takes out of the answer with `jq`."""


def json_metrics(service: Service) -> Mapping[str, list[dict[str, object]]]:
    return service.get("/metrics").json()["metrics"]


def value_of(service: Service, name: str, **labels: str) -> object:
    (found,) = [one for one in json_metrics(service)[name] if labels.items() <= one.items()]
    return found["value"]


def test_health_needs_no_token_and_names_every_dependency(service: Service) -> None:
    told = service.get("/health", role=None).json()["dependencies"]
    assert list(told) == ["database", "lake", "landing", "dagster", "disk", "last_runs"]


def test_health_is_503_while_no_daemon_runs_and_says_so(service: Service) -> None:
    service.instance.wipe_daemon_heartbeats()  # of another module's daemon
    time.sleep(SHARED_SECONDS)
    answer = service.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    assert "daemon is silent" in answer.json()["dependencies"]["dagster"]["reason"]


def test_health_tells_version_and_environment(service: Service) -> None:
    told = service.get("/health").json()
    assert (told["version"], told["environment"]) == ("0.1.0", "test")


def test_health_knows_the_last_success(service: Service) -> None:
    service.get("/metrics")
    told = service.get("/health").json()["dependencies"]["last_runs"]["details"]
    assert set(told["last_success_at"]) == {PIPELINE, "web_events"}


def test_metrics_are_json_by_default_with_the_name_of_the_runbook(service: Service) -> None:
    answer = service.get("/metrics")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["activeCDCEngines"] == 0


def test_metrics_are_prometheus_text_where_that_is_accepted(service: Service) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"
    answer = service.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/plain")
    names = {one.name for one in text_string_to_metric_families(answer.text)}
    assert {"potato_pipeline_tasks", "potato_pipeline_task_duration_seconds"} <= names


@pytest.mark.parametrize("name", ROWS, ids=lambda name: f"{ROWS[name]} {name}")
def test_the_metric_of_the_row_has_a_value(service: Service, name: str) -> None:
    assert json_metrics(service)[name]


def test_every_section_is_read(service: Service) -> None:
    assert {one["value"] for one in json_metrics(service)["metrics_section_failed"]} == {0}


def test_metrics_say_what_is_in_the_lake(service: Service) -> None:
    counted = service.services.lake.row_counts(("advisory_performance_bronze", "vendor_rows"))
    table = "advisory_performance_bronze.vendor_rows"
    assert value_of(service, "lake_table_rows", table=table) == sum(counted.values()) > 0


def test_every_pipeline_is_listed(service: Service) -> None:
    listed = {one["id"]: one["workflow"] for one in service.get("/pipelines").json()}
    assert listed == {
        "advisory_performance": "advisory_performance_etl_workflow",
        "operations": None,
        "web_events": "web_events_s3_tables_pipeline",
    }


def test_runs_are_listed_newest_first(service: Service) -> None:
    runs = service.get(f"/pipelines/{PIPELINE}/runs").json()
    begun = [run["started_at"] for run in runs if run["started_at"]]
    assert begun == sorted(begun, reverse=True)
    assert runs[-1]["job"] == "advisory_performance_ingest"


def ingest_run(service: Service) -> str:
    runs = service.get(f"/pipelines/{PIPELINE}/runs", params={"limit": 200}).json()
    return next(run["run_id"] for run in runs if run["job"] == "advisory_performance_ingest")


@pytest.mark.parametrize(("row", "path", "field"), READ_BY_RUNBOOK)
def test_the_runbooks_request_is_answered_with_what_it_reads(
    service: Service, row: str, path: str, field: str | int
) -> None:
    told = service.get(path.format(pipeline=PIPELINE, run=ingest_run(service))).json()
    assert told[field] is not None, row


def test_the_runbooks_names_of_stages_are_those_of_a_run(service: Service) -> None:
    """SC-8."""
    told = service.get(f"/pipelines/{PIPELINE}/runs/{ingest_run(service)}").json()["metrics"]
    assert set(told) == {"extractionDurationMs", "transformationDurationMs", "loadingDurationMs"}


def test_the_severity_that_the_runbook_selects_is_one_of_an_issue(service: Service) -> None:
    """SC-4: `.issues[] | select(.severity == "critical")`."""
    issue = service.get("/openapi.json").json()["components"]["schemas"]["Issue"]
    assert "critical" in issue["properties"]["severity"]["enum"]


def test_the_service_describes_itself(service: Service) -> None:
    """SC-13: the page for people, and its OpenAPI."""
    assert service.get("/docs", role=None).status_code == 200
    assert service.get("/openapi.json", role=None).json()["openapi"].startswith("3.")


def test_the_stages_of_the_last_success_are_metrics(service: Service) -> None:
    told = service.get(f"/pipelines/{PIPELINE}/runs/{ingest_run(service)}").json()["metrics"]
    seconds = value_of(service, "pipeline_stage_seconds", pipeline=PIPELINE, stage="extraction")
    assert seconds == told["extractionDurationMs"] / 1000


def test_a_run_tells_the_time_of_its_stages(service: Service) -> None:
    told = service.get(f"/pipelines/{PIPELINE}/runs/{ingest_run(service)}").json()
    assert told["errors"] == []
    assert told["metrics"]["extractionDurationMs"] > 0
    assert told["metrics"]["loadingDurationMs"] is None


def test_a_run_of_another_pipeline_is_not_found(service: Service) -> None:
    answer = service.get(f"/pipelines/web_events/runs/{ingest_run(service)}")
    assert answer.status_code == 404


def test_the_report_of_a_run_has_its_issues(service: Service) -> None:
    told = service.get(f"/quality/reports/{ingest_run(service)}").json()
    assert told["pipeline"] == PIPELINE
    assert [issue["rule"] for issue in told["issues"]] == ["vendor_silence"]


def test_the_latest_report_is_one_of_the_runs(service: Service) -> None:
    latest = service.get("/quality/reports/latest", params={"pipeline": PIPELINE}).json()
    assert latest == service.get(f"/quality/reports/{latest['run_id']}").json()


@pytest.mark.parametrize(
    "path",
    [
        "/pipelines/weather/runs",
        "/quality/reports/no-such-run",
        "/quality/reports/latest?pipeline=web_events_2",
        "/weather",
    ],
)
def test_what_is_not_there_is_a_problem_in_one_sentence(service: Service, path: str) -> None:
    answer = service.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "request_id"}


def test_no_answer_holds_a_token_or_its_hash(service: Service) -> None:
    texts = [service.get(path).text for path in ("/health", "/metrics", "/pipelines")]
    secrets = [*SECRETS.values(), *(entry.split(":")[2] for entry in TOKENS.split(","))]
    assert [one for one in secrets for text in texts if one in text] == []


def test_a_database_that_is_gone_and_comes_back(service: Service) -> None:
    """Last of this module: the others need the database."""
    settings = service.services.settings
    password = urlsplit(embedded.start(settings, is_durable=False)).password
    try:
        embedded.stop(settings)
        time.sleep(SHARED_SECONDS)
        gone = service.get("/health")
    finally:
        embedded.start(settings, is_durable=False)
    time.sleep(SHARED_SECONDS)
    back = service.get("/health").json()["dependencies"]
    assert gone.status_code == 503
    assert gone.json()["dependencies"]["database"]["status"] == "failing"
    assert password not in gone.text
    assert (back["database"]["status"], back["lake"]["status"]) == ("ok", "ok")
