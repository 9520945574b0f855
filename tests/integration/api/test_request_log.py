"""Each request has an id that its answer, its log line and the run that it starts carry."""

import json
import time
import uuid
from typing import Any

import pytest

from pipeline_platform.logs import folder_of, hashed
from tests.assets.platform_runs import LAST_DAY
from tests.integration.api.conftest import SECRETS, Service

PIPELINE = "advisory_performance"
BODY = {"first": str(LAST_DAY)}


def lines(service: Service, request_id: str) -> list[dict[str, Any]]:
    files = sorted(folder_of(service.services.settings).glob("*.jsonl"))
    found = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return [one for one in found if one["request_id"] == request_id]


def only_line(service: Service, request_id: str) -> dict[str, Any]:
    """Return the line of a request, which may be written just after its answer."""
    until = time.monotonic() + 10
    while not (found := lines(service, request_id)) and time.monotonic() < until:
        time.sleep(0.02)
    (line,) = found
    return line


def test_the_answer_has_the_id_that_the_request_gave(service: Service) -> None:
    answer = service.get("/pipelines", headers={"X-Request-ID": "a-given-id-1"})
    assert answer.headers["x-request-id"] == "a-given-id-1"


def test_the_id_of_a_trace_is_taken(service: Service) -> None:
    trace = uuid.uuid4().hex
    answer = service.get("/pipelines", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
    assert answer.headers["x-request-id"] == trace


@pytest.mark.parametrize("given", ["short", "with a space", 'quote"d-and-long', "x" * 65])
def test_an_id_that_could_break_a_line_is_replaced(service: Service, given: str) -> None:
    answer = service.get("/pipelines", headers={"X-Request-ID": given})
    assert len(answer.headers["x-request-id"]) == 32


def test_a_problem_names_the_id_of_its_request(service: Service) -> None:
    answer = service.get("/pipelines/nowhere/runs", headers={"X-Request-ID": "a-given-id-2"})
    assert answer.json()["request_id"] == "a-given-id-2"


def test_a_request_leads_to_the_run_that_it_started(service: Service) -> None:
    given = f"start-{uuid.uuid4().hex}"
    headers = {"X-Request-ID": given}
    answer = service.post(f"/pipelines/{PIPELINE}/execute", json=BODY, headers=headers)
    run = service.instance.get_run_by_id(answer.json()["run_id"])
    assert run.tags["request_id"] == given
    found = [one for one in lines(service, given) if "run_id" in one]
    assert [one["run_id"] for one in found] == [run.run_id]


def test_a_change_is_logged_with_its_duration_and_a_hash_of_who_did_it(service: Service) -> None:
    headers = {"X-Request-ID": "a-given-id-3"}
    service.post(f"/pipelines/{PIPELINE}/resume", headers=headers)
    line = only_line(service, "a-given-id-3")
    assert (line["operation"], line["pipelineId"], line["component"]) == (
        "resume_pipeline",
        PIPELINE,
        "http-service",
    )
    assert line["user_id"] == hashed("admin-person")
    assert line["duration_ms"] > 0


def test_a_refusal_is_logged_as_a_warning_without_the_token(service: Service) -> None:
    headers = {"X-Request-ID": "a-given-id-4", "Authorization": "Bearer a-guess-of-a-token"}
    service.post("/admin/stop-all", role=None, headers=headers)
    line = only_line(service, "a-given-id-4")
    assert (line["level"], line["status"], line["metadata"]["http_status"]) == (
        "WARNING",
        "error",
        401,
    )


def test_neither_tokens_nor_addresses_are_in_the_log(service: Service) -> None:
    folder = folder_of(service.services.settings)
    text = "".join(path.read_text() for path in folder.glob("*.jsonl"))
    assert [one for one in (*SECRETS.values(), "a-guess", "127.0.0.1") if one in text] == []


def test_what_only_reads_and_goes_well_is_not_logged(service: Service) -> None:
    service.get("/pipelines", headers={"X-Request-ID": "a-given-id-5"})
    assert lines(service, "a-given-id-5") == []
