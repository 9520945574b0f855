"""What the service changes: who may, what is recorded, and real runs begun by a real daemon."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from pipeline_platform.logs import folder_of
from pipeline_platform.orchestration.failures import FAILURE_TAG
from pipeline_platform.orchestration.instance import ROOT
from pipeline_platform.orchestration.launching import Workflows
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.orchestration.run_log import REQUEST_TAG
from tests.assets.platform_runs import LAST_DAY
from tests.integration.api.conftest import SECRETS, Service

PIPELINE = "advisory_performance"
EXECUTE = f"/pipelines/{PIPELINE}/execute"
BODY = {"first": str(LAST_DAY)}
CHANGING = [
    (EXECUTE, "operate"),
    (f"/pipelines/{PIPELINE}/stop", "operate"),
    (f"/pipelines/{PIPELINE}/resume", "operate"),
    ("/admin/stop-all", "admin"),
    ("/admin/resume-all", "admin"),
]
DAEMON_SECONDS = 120


def actions(service: Service, **wanted: str) -> list[dict[str, Any]]:
    """Return the recorded actions, newest first."""
    columns = "actor, action, target, client_address, result, reason, state_before, state_after"
    with service.services.database.connection() as connection:
        rows = connection.execute(
            f"SELECT {columns} FROM operator_actions ORDER BY action_id DESC"
        ).fetchall()
    found = [dict(zip(columns.split(", "), row, strict=True)) for row in rows]
    return [one for one in found if wanted.items() <= one.items()]


def body_of(path: str) -> dict[str, Any]:
    return {"json": BODY} if path == EXECUTE else {}


@pytest.fixture
def running(service: Service) -> Iterator[None]:
    """Whatever a test stops goes on afterwards."""
    yield
    service.post("/admin/resume-all")
    for name in (PIPELINE, "web_events"):
        service.post(f"/pipelines/{name}/resume")


@pytest.mark.parametrize("path", [path for path, _ in CHANGING])
def test_nothing_changes_without_a_token(service: Service, path: str) -> None:
    answer = service.post(path, role=None, **body_of(path))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("path", "role"), CHANGING)
def test_nothing_changes_with_a_lesser_role(service: Service, path: str, role: str) -> None:
    for lesser in ("read", "operate")[: ("read", "operate", "admin").index(role)]:
        assert service.post(path, role=lesser, **body_of(path)).status_code == 403


def test_an_unknown_token_is_refused_and_recorded_without_its_text(service: Service) -> None:
    headers = {"Authorization": "Bearer a-guess"}
    answer = httpx.post(f"{service.address}/admin/stop-all", headers=headers)
    (newest, *_) = actions(service)
    assert answer.status_code == 401
    assert (newest["actor"], newest["result"]) == ("unknown", "refused")
    assert "a-guess" not in str(newest)


def test_an_action_is_recorded_with_who_where_and_the_state_before_and_after(
    service: Service, running: None
) -> None:
    service.post(f"/pipelines/{PIPELINE}/stop", role="operate", json={"reason": "vendor is late"})
    (newest, *_) = actions(service)
    assert newest == {
        "actor": "operate-person",
        "action": "stop",
        "target": PIPELINE,
        "client_address": "127.0.0.1",
        "result": "done",
        "reason": "vendor is late",
        "state_before": {},
        "state_after": {PIPELINE: "vendor is late"},
    }


def test_stopping_twice_changes_something_once(service: Service, running: None) -> None:
    answers = [service.post("/admin/stop-all").json()["changed"] for _ in range(2)]
    assert answers == [True, False]


def test_everything_goes_on_but_what_was_stopped_alone(service: Service, running: None) -> None:
    service.post("/pipelines/web_events/stop")
    service.post("/admin/stop-all")
    service.post("/admin/resume-all")
    listed = service.get("/pipelines").json()
    assert [one["id"] for one in listed if one["stopped"]] == ["web_events"]


def test_a_stopped_pipeline_is_not_executed(service: Service, running: None) -> None:
    service.post(f"/pipelines/{PIPELINE}/stop", json={"reason": "vendor is late"})
    answer = service.post(EXECUTE, role="operate", json=BODY)
    assert answer.status_code == 409
    assert "vendor is late" in answer.json()["detail"]
    assert actions(service, action="execute")[0]["result"] == "refused"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (EXECUTE, {"first": "1800-01-01"}, 404),
        (EXECUTE, {"first": "0001-01-01"}, 404),
        (EXECUTE, {"first": "2024-10-01", "last": "9999-12-31"}, 404),
        (EXECUTE, {"first": "2024-10-01", "last": "2024-09-01"}, 422),
        (EXECUTE, {"first": "yesterday"}, 422),
        (EXECUTE, {"first": "2024-10-01", "more": 1}, 422),
        ("/pipelines/operations/execute", {"first": "2024-10-01"}, 404),
        ("/admin/stop-all", {"reason": "a\x00b"}, 422),
        ("/admin/stop-all", {"reason": "x" * 501}, 422),
    ],
)
def test_what_can_not_be_done_is_refused(
    service: Service, path: str, body: dict[str, str], status: int
) -> None:
    answer = service.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


def test_a_large_body_is_refused(service: Service) -> None:
    answer = service.post("/admin/stop-all", content=b"x" * 70_000)
    assert answer.status_code == 413


def test_a_large_body_without_a_length_is_refused(service: Service) -> None:
    answer = service.post("/admin/stop-all", content=iter([b"x" * 40_000] * 2))
    assert answer.status_code == 413


def test_guessing_is_slowed_down(service: Service) -> None:
    """From another address, so that no other test is slowed down."""
    transport = httpx.HTTPTransport(local_address="127.0.0.7")
    headers = {"Authorization": "Bearer a-guess"}
    with httpx.Client(transport=transport, base_url=service.address, headers=headers) as client:
        answers = [client.get("/pipelines") for _ in range(40)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.fixture(scope="module")
def daemon(service: Service) -> Iterator[None]:
    """Dagster's daemon as a process of its own: it begins what the service queues."""
    program = str(Path(sys.executable).with_name("dagster-daemon"))
    with subprocess.Popen(
        [program, "run", "-w", "workspace.yaml"],
        cwd=ROOT,
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield
        process.terminate()


def wait_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + DAEMON_SECONDS
    while not (answer := found()):
        assert time.monotonic() < until, "It did not happen in time."
        time.sleep(0.3)
    return answer


def ended(service: Service, run_id: str) -> dg.DagsterRun:
    def finished() -> dg.DagsterRun | None:
        run = service.instance.get_run_by_id(run_id)
        return run if run is not None and run.is_finished else None

    return wait_for(finished)


@pytest.fixture(scope="module")
def executed(service: Service, daemon: None) -> dict[str, Any]:
    """The answer to two requests with the same key at the same time, and the run's end."""
    headers = {"Idempotency-Key": "october"}
    answers: list[httpx.Response] = []
    posting = [
        threading.Thread(
            target=lambda: answers.append(
                service.post(EXECUTE, role="operate", json=BODY, headers=headers)
            )
        )
        for _ in range(2)
    ]
    for one in posting:
        one.start()
    for one in posting:
        one.join()
    run_id = answers[0].json()["run_id"]
    return {"answers": answers, "run": ended(service, run_id), "run_id": run_id}


def test_a_run_is_queued_and_answered_with_its_id(executed: dict[str, Any]) -> None:
    (answer, _) = executed["answers"]
    assert answer.status_code == 202
    assert answer.json()["first_partition"] == "2024-10-01"


def test_the_run_succeeds(service: Service, executed: dict[str, Any]) -> None:
    errors = service.get(f"/pipelines/{PIPELINE}/runs/{executed['run_id']}").json()["errors"]
    assert (executed["run"].status, errors) == (dg.DagsterRunStatus.SUCCESS, [])


def test_each_step_of_it_is_in_the_log_under_the_request(
    service: Service, executed: dict[str, Any]
) -> None:
    files = sorted(folder_of(service.services.settings).glob("*.jsonl"))
    texts = [path.read_text("utf-8") for path in files]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    steps = {
        one["step"]: one["request_id"]
        for one in lines
        if one.get("run_id") == executed["run_id"] and one["duration_ms"] and "step" in one
    }
    asked = {answer.headers["x-request-id"] for answer in executed["answers"]}
    assert "advisory_performance_silver" in steps
    assert len(set(steps.values())) == 1
    assert set(steps.values()) <= asked


def test_it_counts_among_the_runs_of_its_pipeline(executed: dict[str, Any]) -> None:
    assert work_tags(PIPELINE).items() <= executed["run"].tags.items()


def test_it_served_the_month(service: Service, executed: dict[str, Any]) -> None:
    with service.services.database.connection() as connection:
        (count,) = connection.execute("SELECT count(*) FROM performance_data").fetchone()
    assert count > 0


def test_its_three_stages_are_measured(service: Service, executed: dict[str, Any]) -> None:
    told = service.get(f"/pipelines/{PIPELINE}/runs/{executed['run_id']}").json()["metrics"]
    assert told["transformationDurationMs"] > 0
    assert told["loadingDurationMs"] > 0


def test_its_report_has_dimensions_and_a_score(service: Service, executed: dict[str, Any]) -> None:
    told = service.get(f"/quality/reports/{executed['run_id']}").json()
    assert told["dimensions"]["validity"]["score"] == 100
    assert {one["check_name"] for one in told["checks"]} >= {"conservation"}


def test_the_same_key_is_the_same_run(service: Service, executed: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "october"}
    again = service.post(EXECUTE, role="operate", json=BODY, headers=headers)
    ids = {one.json()["run_id"] for one in (*executed["answers"], again)}
    assert ids == {executed["run_id"]}


def test_the_same_key_for_something_else_is_refused(
    service: Service, executed: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "october"}
    other = {"first": "2024-09-01"}
    answer = service.post(EXECUTE, role="operate", json=other, headers=headers)
    assert answer.status_code == 422


def test_with_a_daemon_everything_is_healthy(service: Service, executed: dict[str, Any]) -> None:
    answer = wait_for(lambda: (a := service.get("/health")).status_code == 200 and a)
    assert {one["status"] for one in answer.json()["dependencies"].values()} == {"ok"}


def test_a_queued_run_of_a_stopped_pipeline_is_not_begun(
    service: Service, executed: dict[str, Any], running: None
) -> None:
    """Queued behind the service's back, as the UI or a backfill would while it is stopped."""
    service.post(f"/pipelines/{PIPELINE}/stop", json={"reason": "vendor is late"})
    run_id = str(uuid.uuid4())
    from pipeline_platform.definitions import build_defs

    definitions = build_defs(service.services.settings, {"services": service.services})
    workflows = Workflows(definitions, service.instance)
    day = date(2024, 10, 1)
    workflows.start(PIPELINE, day, day, run_id=run_id, actor="test")
    run = ended(service, run_id)
    messages = [entry.message for entry in service.instance.all_logs(run_id)]
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert any("vendor is late" in message for message in messages)
    assert not any(entry.dagster_event.is_step_event for entry in _events(service, run_id))


def test_a_failed_run_is_started_again_from_the_step_that_failed(
    service: Service, executed: dict[str, Any], running: None
) -> None:
    def rename(old: str, new: str) -> None:
        with service.services.database.transaction() as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename("performance_data", "hidden_data")
    run_id = service.post(EXECUTE, json=BODY).json()["run_id"]
    try:
        failed = ended(service, run_id)
    finally:
        rename("hidden_data", "performance_data")
    assert failed.status == dg.DagsterRunStatus.FAILURE
    shell = [str(Path(sys.executable).with_name("pipeline-platform"))]
    environment = {**os.environ, **service.environment}
    told = subprocess.run(
        [*shell, "rerun", "--failed", "--since", "1h", "--json"],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    again = {one["failed run"]: one["new run"] for one in json.loads(told.stdout)}[run_id]
    followed = subprocess.run([*shell, "watch", again], env=environment, check=False)
    steps = {one.step_key for one in service.instance.get_run_step_stats(again)}
    tags = service.instance.get_run_by_id(again).tags
    assert {FAILURE_TAG, REQUEST_TAG} & tags.keys() == set(), "they are the failed run's"
    own = f"{PIPELINE}_performance_data"
    assert (followed.returncode, steps) == (0, {own, f"{PIPELINE}_service_checks"})


def _events(service: Service, run_id: str) -> list[Any]:
    return [one for one in service.instance.all_logs(run_id) if one.is_dagster_event]


def test_no_token_is_in_the_record_of_actions(service: Service) -> None:
    assert [secret for secret in SECRETS.values() if secret in str(actions(service))] == []
