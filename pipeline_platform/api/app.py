"""The application: its endpoints, limits, errors, and what goes on beside them while it runs."""

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from pipeline_platform.api import admin, health, metrics, pipelines, quality, reports
from pipeline_platform.api.limits import BoundedRequests
from pipeline_platform.api.platform import Platform
from pipeline_platform.api.problems import add_handlers
from pipeline_platform.api.rate_limit import RateLimit
from pipeline_platform.api.request_log import RequestLog
from pipeline_platform.api.security import Gate
from pipeline_platform.api.sharing import Shared
from pipeline_platform.api.tokens import Tokens
from pipeline_platform.operations.health import Probes

RECORD_EVERY_SECONDS = 15.0
_log = logging.getLogger("pipeline_platform.api")


def create_app(platform: Platform) -> FastAPI:
    """Return the service; ended runs are recorded for as long as it runs."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        ended = threading.Event()
        recording = threading.Thread(
            target=_record_runs, args=(platform, ended), name="run records", daemon=True
        )
        recording.start()
        yield
        ended.set()
        app.state.probes.close()

    app = FastAPI(
        title="Pipeline platform",
        version=version("pipeline-platform"),
        description="Health, metrics, pipelines, quality reports, pages, stop and resume.",
        lifespan=running,
    )
    settings = platform.services.settings
    known = settings.api_tokens.get_secret_value() if settings.api_tokens else ""
    app.state.platform = platform
    app.state.probes = Probes(platform.services, platform.history.instance, platform.runbooks)
    app.state.health = Shared(app.state.probes.report, health.SHARED_SECONDS)
    app.state.metrics = metrics.Metrics(platform)
    app.state.gate = Gate(
        platform.services, Tokens.parse(known), RateLimit(settings.api_requests_per_minute)
    )
    app.add_middleware(BoundedRequests)
    app.add_middleware(RequestLog)
    add_handlers(app)
    for module in (health, metrics, pipelines, quality, reports, admin):
        app.include_router(module.router)
    return app


def _record_runs(platform: Platform, ended: threading.Event) -> None:
    """Record ended runs now and then, so that counters are right even if nobody scrapes."""
    while not ended.wait(RECORD_EVERY_SECONDS):
        try:
            platform.recorder.record_ended(platform.services)
        except Exception as error:
            _log.warning("Ended runs can't be recorded: %s", type(error).__name__)
