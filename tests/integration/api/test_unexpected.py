"""Whatever is sent, the service answers as its OpenAPI page says and never breaks.

Runs last of its folder: what it sends queues runs and stops pipelines of the shared platform.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline_platform.orchestration.instance import ROOT
from tests.integration.api.conftest import SECRETS, Service
from tests.platform.test_documentation import example

EXAMPLES = 8
"""For each endpoint and kind: enough for every sort of wrong value, in seconds."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
ENDPOINTS = [
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/pipelines"),
    ("GET", "/pipelines/{pipeline}/runs"),
    ("GET", "/pipelines/{pipeline}/runs/{run_id}"),
    ("POST", "/pipelines/{pipeline}/execute"),
    ("POST", "/pipelines/{pipeline}/stop"),
    ("POST", "/pipelines/{pipeline}/resume"),
    ("GET", "/quality/reports/latest"),
    ("GET", "/quality/reports/{run_id}"),
    ("GET", "/reports"),
    ("GET", "/reports/{pipeline}/{report}/{day}"),
    ("POST", "/admin/stop-all"),
    ("POST", "/admin/resume-all"),
]
PIPELINE = "advisory_performance"
"""Random names are no pipeline's, and would be all that is tried."""
MODES = {"valid": GenerationMode.POSITIVE, "wrong": GenerationMode.NEGATIVE}
COMMANDS = [
    line
    for line in example(ROOT / "docs" / "http.md", "curl").splitlines()
    if line.startswith("curl ")
]
TRIALS = [
    (*endpoint, mode)
    for endpoint in ENDPOINTS
    for mode in MODES
    if endpoint != ("GET", "/health") or mode == "valid"  # it takes nothing that could be wrong
]


@pytest.fixture(scope="module")
def described(service: Service) -> Iterator[schemathesis.BaseSchema]:
    yield schemathesis.openapi.from_url(f"{service.address}/openapi.json")
    service.post("/admin/resume-all")
    for one in service.get("/pipelines").json():
        service.post(f"/pipelines/{one['id']}/resume")


def test_every_endpoint_is_tried(described: schemathesis.BaseSchema) -> None:
    found = [one.ok() for one in described.get_all_operations()]
    assert sorted((one.method.upper(), one.path) for one in found) == sorted(ENDPOINTS)


@pytest.mark.parametrize(("method", "path", "mode"), TRIALS)
def test_no_request_breaks_the_service(
    described: schemathesis.BaseSchema, method: str, path: str, mode: str
) -> None:
    operation = described[path][method]

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=operation.as_strategy(generation_mode=MODES[mode]))
    def answers(case: schemathesis.Case) -> None:
        if mode == "valid" and "pipeline" in case.path_parameters:
            case.path_parameters["pipeline"] = PIPELINE
        # A wrong token would be refused before anything else is looked at.
        case.headers["Authorization"] = f"Bearer {SECRETS['admin']}"
        response = case.call()
        is_told = path == "/health" and response.status_code == 503
        assert response.status_code < 500 or is_told, response.text
        case.validate_response(response, checks=CHECKS)

    answers()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-40:])
def test_a_documented_command_does_what_it_says(
    service: Service, described: schemathesis.BaseSchema, command: str
) -> None:
    told = subprocess.run(
        ["bash", "-c", f"{command} -w '\n%{{http_code}}'"],
        env={**os.environ, "ADDRESS": service.address, "TOKEN": SECRETS["admin"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    good = {"200", "202"} | ({"503"} if "/health" in command else set())
    assert told.splitlines()[-1] in good, told
