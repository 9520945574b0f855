"""Bounds of each request, before anything of it is read: its size and how long it may take."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_platform.api.problems import RETRY_SECONDS, problem

MAX_BODY_BYTES = 64 * 1024
MAX_SECONDS = 30.0


class BoundedRequests:
    """Refuses bodies of more than `max_bytes` and ends requests after `max_seconds`."""

    def __init__(
        self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES, max_seconds: float = MAX_SECONDS
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_large = f"A request may have at most {self._max_bytes} bytes."
        if _declared_length(scope) > self._max_bytes:
            await problem(413, too_large)(scope, receive, send)
            return
        has_begun = False
        read = 0

        async def bounded_receive() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise HTTPException(413, too_large)
            return message

        async def noted_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await asyncio.wait_for(self._app(scope, bounded_receive, noted_send), self._max_seconds)
        except TimeoutError:
            if not has_begun:
                detail = f"The request was not done within {self._max_seconds:g} seconds."
                await problem(503, detail, headers={"Retry-After": RETRY_SECONDS})(
                    scope, receive, send
                )


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
