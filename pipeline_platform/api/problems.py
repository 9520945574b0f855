"""Every error as one clear sentence in a JSON problem object (RFC 9457), never a trace."""

import logging
import uuid
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipeline_platform.failures import (
    BadInputError,
    NotFoundError,
    PlatformError,
    StoppedError,
    TransientError,
)
from pipeline_platform.logs import bound_fields, told

HEADER = "X-Request-ID"
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "5"
_log = logging.getLogger("pipeline_platform.api")
_TITLES = {
    400: "Bad request",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Not now",
    413: "Too large",
    422: "Not understood",
    429: "Too many requests",
    500: "A fault of the service",
    503: "Try again",
}


class Problem(BaseModel):
    """What went wrong: `detail` is one sentence, `request_id` finds it in the log."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> JSONResponse:
    """Return a problem as a response."""
    body = Problem(
        title=_TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        request_id=request_id or str(bound_fields().get("request_id") or uuid.uuid4().hex),
    )
    return JSONResponse(
        body.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Declare for the OpenAPI page that these statuses answer with a problem."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _TITLES[status], "model": Problem, "content": content}
        for status in statuses
    }


def status_of(error: PlatformError) -> int:
    """Return the status that says what kind of failure it was."""
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, BadInputError):
        return 422
    if isinstance(error, StoppedError):
        return 409
    return 503 if isinstance(error, TransientError) else 500


def add_handlers(app: FastAPI) -> None:
    """Make every error of an application a problem."""

    @app.exception_handler(PlatformError)
    def of_platform(_: Request, error: PlatformError) -> JSONResponse:
        status = status_of(error)
        return problem(
            status, str(error), headers={"Retry-After": RETRY_SECONDS} if status == 503 else None
        )

    @app.exception_handler(RequestValidationError)
    def of_request(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(422, f"{place}: {first['msg']}.".encode("utf-8", "replace").decode())

    @app.exception_handler(HTTPException)
    def of_http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        # The request's own block of the log has ended by now.
        number = getattr(request.state, "request_id", None) or uuid.uuid4().hex
        _log.error(
            "Request %s to %s failed: %s",
            number,
            request.url.path,
            type(error).__name__,
            exc_info=error,
            extra=told(request_id=number),
        )
        detail = f"The service failed; its log says why under {number}."
        return problem(500, detail, headers={HEADER: number}, request_id=number)
