"""Each request as a line of the log, under the id that its answer and its run carry (ST-73)."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_platform.api.problems import HEADER
from pipeline_platform.logs import bound, told

_GIVEN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_TRACE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_log = logging.getLogger("pipeline_platform.api")


class RequestLog:
    """Gives each request an id and logs how it ended.

    The id is the caller's X-Request-ID, else the trace id of its `traceparent`, else a new one.
    What only reads is logged at level debug, unless it fails. Neither the caller's address nor the
    query of the address is logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = id_of(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began, status = time.perf_counter(), 500

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with bound(request_id=request_id):
            try:
                await self._app(scope, receive, noted_send)
            finally:
                _log.log(
                    _level(scope["method"], status),
                    "%s %s: %s",
                    scope["method"],
                    scope["path"],
                    status,
                    extra=told(
                        user_id=state.get("user_id"),
                        operation=getattr(scope.get("route"), "name", "unknown"),
                        pipelineId=scope.get("path_params", {}).get("pipeline"),
                        duration_ms=round((time.perf_counter() - began) * 1000, 1),
                        status="error" if status >= 400 else "success",
                        http_status=status,
                    ),
                )


def id_of(headers: Headers) -> str:
    """Return the id of a request: one that could break a line or a header is not taken."""
    given = headers.get(HEADER, "")
    if _GIVEN.fullmatch(given):
        return given
    trace = _TRACE.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else uuid.uuid4().hex


def _level(method: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    if status in (401, 403, 429):
        return logging.WARNING
    return logging.DEBUG if method in ("GET", "HEAD") else logging.INFO
