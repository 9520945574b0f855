"""Where messages arrive in a test: an HTTP server that keeps them, and an SMTP server."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.controller import Controller


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class LocalChannels:
    """Keeps every request; answers with `status`, and for a status page as Statuspage does."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[Request] = []
        self.shown: dict[str, dict[str, Any]] = {}

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        channels = self

        class _Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length).decode()
                body = json.loads(text) if text else None
                answer = channels.take(
                    Request(self.command, self.path, dict(self.headers.items()), body)
                )
                content = json.dumps(answer).encode() if answer is not None else b"ok"
                self.send_response(channels.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PATCH(self) -> None:
                self._answer()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: Request) -> Any:
        self.requests.append(request)
        if not request.path.startswith("/v1/pages/") or self.status >= 400:
            return None
        if request.method == "GET":
            return [one for one in self.shown.values() if one["status"] != "resolved"]
        number = f"i{len(self.shown)}" if request.method == "POST" else request.path.split("/")[-1]
        self.shown[number] = {"id": number, **request.body["incident"]}
        return self.shown[number]


@contextmanager
def mail_server() -> Iterator[tuple[str, list[tuple[list[str], EmailMessage]]]]:
    """Run an SMTP server; give its address and the list of recipients and mails it keeps."""
    received: list[tuple[list[str], EmailMessage]] = []

    class _Keep:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
            mail = message_from_bytes(envelope.content, policy=policy.default)
            received.append((list(envelope.rcpt_tos), mail))
            return "250 OK"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(_Keep(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"127.0.0.1:{port}", received
    finally:
        controller.stop()
