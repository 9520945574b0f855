"""A service that was really started, as its own process, beside a platform that did real work."""

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import httpx
import pytest

from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.instance import instance_environment, open_instance
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from tests.assets.platform_runs import QUIET, deliver_sample, sample

START_SECONDS = 60
SECRETS = {role: f"a-test-token-that-may-{role}" for role in ("read", "operate", "admin")}
TOKENS = ",".join(
    f"{role}-person:{role}:{hashlib.sha256(secret.encode()).hexdigest()}"
    for role, secret in SECRETS.items()
)


@dataclass
class Service:
    """A started service and what it serves."""

    address: str
    services: Services
    instance: dg.DagsterInstance
    environment: dict[str, str]

    def client(self, role: str | None = "read") -> httpx.Client:
        headers = {"Authorization": f"Bearer {SECRETS[role]}"} if role else {}
        return httpx.Client(base_url=self.address, headers=headers, timeout=30)

    def get(self, path: str, role: str | None = "read", **options: object) -> httpx.Response:
        with self.client(role) as client:
            return client.get(path, **options)

    def post(self, path: str, role: str | None = "admin", **options: object) -> httpx.Response:
        with self.client(role) as client:
            return client.post(path, **options)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(environment: dict[str, str], *options: str) -> Iterator[str]:
    """Start the service as a process of its own and give its address."""
    port = free_port()
    program = str(Path(sys.executable).with_name("pipeline-platform"))
    with subprocess.Popen(
        [program, "serve", "--port", str(port), *options], env={**os.environ, **environment}
    ) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, "The service ended at once."
                assert time.monotonic() < until, "The service did not start in time."
                try:
                    httpx.get(f"{address}/openapi.json", timeout=5)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service over a platform with its own server, on which an ingest and a workflow ran."""
    home = tmp_path_factory.mktemp("service") / "home"
    settings = Settings(home=home, environment="test")
    embedded.start(settings, is_durable=False)
    before = dict(os.environ)
    environment = {
        "PLATFORM_HOME": str(home),
        "PLATFORM_ENVIRONMENT": "test",
        "PLATFORM_API_TOKENS": TOKENS,
        "PLATFORM_API_REQUESTS_PER_MINUTE": "600000",
        "PLATFORM_LOG_FORMAT": "json",
        "PYTHONWARNINGS": "ignore",
    }
    try:
        with Services(settings) as services, open_instance(settings) as instance:
            environment |= instance_environment(settings)
            deliver_sample(settings, sample(days=15))
            definitions = build_defs(settings, {"services": services})
            job = definitions.resolve_job_def("advisory_performance_ingest")
            done = job.execute_in_process(
                instance=instance, run_config={**QUIET, **ingest_config(VENDOR_ROWS, ())}
            )
            assert done.success
            with started(environment) as address:
                yield Service(address, services, instance, environment)
    finally:
        embedded.stop(settings)
        os.environ.clear()
        os.environ.update(before)
