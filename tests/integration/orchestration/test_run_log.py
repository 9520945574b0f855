"""Runs of Dagster as lines of our log: run, pipeline, step, partition, request, file."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.definitions import build_defs
from pipeline_platform.failures import BadInputError
from pipeline_platform.logs import folder_of, set_up
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.orchestration.test_pooled_storage import instance_on
from tests.integration.web_events.event_files import deliver, events

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TAGS = {"request_id": "the-request", "dagster/partition": "2026-11-20"}
Line = dict[str, Any]


@dg.asset(
    key=["web_events", "made"],
    check_specs=[
        dg.AssetCheckSpec(name, asset=dg.AssetKey(["web_events", "made"]))
        for name in ("kept", "broken", "unknown")
    ],
)
def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """One asset with three checks, of which one breaks and one can't be measured."""
    context.log.info("it says so")
    yield dg.AssetCheckResult(check_name="kept", passed=True)
    yield dg.AssetCheckResult(check_name="broken", passed=False, description="9 of 10 rows.")
    yield dg.AssetCheckResult(
        check_name="unknown", passed=False, metadata={"outcome": "not measurable"}
    )
    yield dg.MaterializeResult()


@dg.asset(key=["web_events", "failing"])
def failing(context: dg.AssetExecutionContext) -> None:
    """An asset that fails with a secret in its words."""
    with handled_failures(context):
        logging.getLogger("pipeline_platform.lake.lake").warning("it will fail")
        raise BadInputError("no login at postgresql://etl:hunter2@db/platform for a@b.example")


@pytest.fixture(scope="module")
def platform(new_database, tmp_path_factory) -> Iterator[tuple[Settings, dg.DagsterInstance]]:
    settings = Settings(
        home=tmp_path_factory.mktemp("logged"),
        environment="test",
        database_url=new_database(),
        log_format="json",
    )
    ours = logging.getLogger("pipeline_platform")
    level = ours.level
    with instance_on(new_database()) as instance:
        set_up(settings, "test")
        yield settings, instance
        ours.setLevel(level)
        for one in [one for one in logging.getLogger().handlers if one.formatter is not None]:
            if type(one.formatter).__name__ == "JsonLine":
                logging.getLogger().removeHandler(one)


@pytest.fixture(scope="module")
def lines(platform) -> list[Line]:
    """Return the lines of a run that went well, and of one that failed."""
    settings, instance = platform
    for asset in (made, failing):
        dg.materialize(
            [asset], instance=instance, run_config=QUIET, tags=TAGS, raise_on_error=False
        )
    return read(settings)


def read(settings: Settings) -> list[Line]:
    texts = [path.read_text() for path in sorted(folder_of(settings).glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def of_step(lines: list[Line], step: str, event: str | None) -> list[Line]:
    return [
        one for one in lines if one.get("step") == step and one["metadata"].get("event") == event
    ]


def test_a_step_has_run_step_partition_request_and_both_durations(lines) -> None:
    (line,) = of_step(lines, "web_events__made", "STEP_SUCCESS")
    assert (line["partition"], line["request_id"]) == ("2026-11-20", "the-request")
    assert re.fullmatch(r"[0-9a-f-]{36}", line["run_id"])
    assert line["duration_seconds"] == round(line["duration_ms"] / 1000, 3)


def test_what_an_asset_says_is_logged(lines) -> None:
    (line,) = of_step(lines, "web_events__made", None)
    assert (line["message"], line["level"]) == ("it says so", "INFO")


def test_a_broken_rule_is_found_by_its_form(lines) -> None:
    found = [one for one in lines if re.search("expectation.*failed", one["message"])]
    assert [(one["level"], one["status"]) for one in found] == [("WARNING", "error")]
    assert found[0]["message"] == "expectation broken of web_events/made failed: 9 of 10 rows."


def test_what_can_not_be_measured_did_not_fail(lines) -> None:
    assert any("expectation unknown of web_events/made can't be" in one["message"] for one in lines)


def test_a_failed_step_says_why_without_its_secrets(lines) -> None:
    (line,) = of_step(lines, "web_events__failing", "STEP_FAILURE")
    assert line["level"] == "ERROR"
    assert "no login at postgresql://***@db/platform for [e-mail]" in line["message"]
    assert not [one for one in lines if "hunter2" in json.dumps(one)]


def test_what_the_platform_logs_within_a_step_has_its_fields(lines) -> None:
    (line,) = [one for one in lines if one["message"] == "it will fail"]
    assert (line["step"], line["request_id"]) == ("web_events__failing", "the-request")


def test_the_machinery_of_a_step_is_left_to_debugging(platform, lines) -> None:
    settings, instance = platform
    assert of_step(lines, "web_events__made", "STEP_OUTPUT") == []
    loud = {**TAGS, "log_level": "debug"}
    dg.materialize([made], instance=instance, run_config=QUIET, tags=loud)
    assert of_step(read(settings)[len(lines) :], "web_events__made", "STEP_OUTPUT") != []


def test_a_file_is_logged_by_its_hash_and_run(platform) -> None:
    settings, instance = platform
    with Services(settings) as services:
        deliver(services, "events_1.ndjson", events(3))
        job = build_defs(settings, {"services": services}).resolve_job_def("web_events_ingest")
        done = job.execute_in_process(instance=instance, run_config=QUIET)
    (line,) = [one for one in read(settings) if "file_sha256" in one]
    assert (line["run_id"], line["pipelineId"], len(line["file_sha256"])) == (
        done.run_id,
        "web_events",
        64,
    )
    assert line["partition"] == "2026-11-20"
