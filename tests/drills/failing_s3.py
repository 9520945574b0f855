"""A proxy before moto's S3 that answers as S3 does when it is overloaded, or refuses."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

CODES = {503: "SlowDown", 403: "AccessDenied"}


class FailingS3:
    """Forwards every request to a server, or answers all with `status` while that is set."""

    def __init__(self, address: str) -> None:
        self.status: int | None = None
        self._behind = urlsplit(address).netloc

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: a second one waits 40 ms for the first

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else None
                status, headers, content = proxy.answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(name, value)
                length = len(content)
                if self.command == "HEAD":
                    length = int(dict(headers).get("Content-Length", 0))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 -- its names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(
        self, method: str, path: str, headers: http.client.HTTPMessage, body: bytes | None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.status is not None:
            code = CODES[self.status]
            text = f"<Error><Code>{code}</Code><Message>It says {code}.</Message></Error>"
            return self.status, [("Content-Type", "application/xml")], text.encode()
        connection = http.client.HTTPConnection(self._behind, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()
