"""Rules and dashboards ask only for series that a real scrape has, by name and by label."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipeline_platform.api.metrics import SHARED_SECONDS
from pipeline_platform.commands.generate import FOLDER
from pipeline_platform.operations import incident_store
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.quality.observations import record_verdict
from tests.integration.api.conftest import Service

SERIES = re.compile(r"(?P<name>[a-z_]{4,})(?:\{(?P<labels>[^}]*)\})?(?=[ \[)]|$)")
LABEL = re.compile(r'(?P<label>[a-z_]+)="')
WORDS = {"unless", "without", "status", "pipeline", "check", "asset"}
"""What is written like a series, but is an operator, or a label of one."""
RETIRED = runbooks()["web_events"].thresholds["error_rate"]
Exposed = Mapping[str, set[frozenset[str]]]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each PromQL expression that is generated, with the file that has it."""
    for path in sorted((FOLDER / "prometheus").glob("*.yml")):
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            yield from ((path.name, rule["expr"]) for rule in group["rules"])
    for path in sorted((FOLDER / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            targets = panel.get("targets", [])
            yield from ((path.name, one["expr"]) for one in targets if "expr" in one)


def asked_for() -> set[tuple[str, frozenset[str]]]:
    """Return each series' name with the labels by which it is chosen."""
    return {
        (found["name"], frozenset(LABEL.findall(found["labels"] or "")))
        for _, expression in expressions()
        for found in SERIES.finditer(expression)
        if found["name"] not in WORDS
    }


@pytest.fixture(scope="module")
def scraped(service: Service) -> str:
    """Scrape as Prometheus does; before, an asset was made and an incident was mended.

    A check was evaluated that no runbook has any more.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    with service.services.database.transaction() as connection:
        for minute in (2, 1, 0):
            incident_store.remember_watch(connection, now - timedelta(minutes=minute))
        connection.execute(
            "INSERT INTO incidents (pipeline, cause, title, severity, route, response_minutes,"
            " state, began_at, severe_at, opened_at, told_at, resolved_at, remedy)"
            " VALUES ('web_events', 'c', 't', 'warning', 'performance', 1, 'RESOLVED',"
            " %(now)s, %(now)s, %(now)s, %(now)s, %(now)s,"
            """ '{"command": "pipeline-platform runs", "dry_run": null}')""",
            {"now": now},
        )
        retired = RETIRED.model_copy(update={"name": "retired_check"})
        verdict = judge(Measurement("retired_check", 1.0, sample_size=1000), retired)
        record_verdict(connection, "web_events", verdict, now=now)
    returns = dg.AssetKey(["advisory_performance", "gold", "time_weighted_returns"])
    service.instance.report_runless_asset_event(dg.AssetMaterialization(returns))
    time.sleep(SHARED_SECONDS)
    return service.get("/metrics", headers={"Accept": "text/plain"}).text


@pytest.fixture(scope="module")
def exposed(scraped: str) -> Exposed:
    """What was scraped: the sets of labels that each series has."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found


def test_something_is_asked_for() -> None:
    assert {name for name, _ in asked_for()} >= {
        "pipeline_check_value",
        "potato_pipeline_tasks_total",
        "metrics_section_failed",
    }


def test_every_series_that_is_asked_for_is_exposed(exposed: Exposed) -> None:
    assert {name for name, _ in asked_for()} - exposed.keys() == set()


def test_every_label_that_is_asked_for_is_one_of_the_series(exposed: Exposed) -> None:
    unknown = [
        (name, labels)
        for name, labels in asked_for()
        if not any(labels <= known for known in exposed.get(name, ()))
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("series", "is_there"),
    [("pipeline_check_outcome", True), ("pipeline_check_observed_timestamp", False)],
)
def test_a_check_that_no_runbook_has_any_more_is_never_overdue(
    scraped: str, series: str, is_there: bool
) -> None:
    samples = [line for line in scraped.splitlines() if line.startswith(f"{series}{{")]
    assert any('check="retired_check"' in line for line in samples) == is_there
