"""What the service tells: over real HTTP, from a platform that did real work."""

import pytest

from tests.integration.api.conftest import Service

INGEST = "advisory_performance_ingest"


def test_openapi(service: Service) -> None:
    for p in (
        "/health",
        "/metrics",
        "/pipelines",
        "/pipelines/advisory/runs",
        "/pipelines/advisory_performance/runs",
        "/quality/reports/latest",
    ):
        r = service.get(p)
        print(p, r.status_code, r.elapsed.total_seconds(), r.headers["content-type"], r.text[:1500])
    runs = service.get("/pipelines/advisory_performance/runs").json()
    print(service.get(f"/pipelines/advisory_performance/runs/{runs[0]['run_id']}").text)
    print(service.get("/metrics", headers={"Accept": "text/plain"}).text)
