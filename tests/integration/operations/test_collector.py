"""`doctor` tries an OpenTelemetry collector with an empty POST, never a GET (D-14, SP-30)."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline_platform.layers import Layer, attempted
from pipeline_platform.operations.collector import ENDPOINT, HEADERS, collector_steps
from pipeline_platform.operations.doctor import examine
from tests.integration.commands.conftest import Shell

SECRET = "Bearer hunter2"


class Collector(BaseHTTPRequestHandler):
    """Answers as the specification says: only POST, an empty request is a success."""

    def do_GET(self) -> None:
        self._answer(405)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/guarded/v1/traces" and self.headers.get("Authorization") != SECRET:
            self._answer(401)
        elif self.path not in {"/v1/traces", "/guarded/v1/traces"}:
            self._answer(404)
        elif body or self.headers["Content-Type"] != "application/x-protobuf":
            self._answer(400)
        else:
            self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture(scope="module")
def collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def closed() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def tried(endpoint: str, headers: str = "") -> list[Layer]:
    return list(attempted(collector_steps({ENDPOINT: endpoint, HEADERS: headers}, 5)))


def failing(endpoint: str, headers: str = "") -> tuple[str, str]:
    last = tried(endpoint, headers)[-1]
    assert not last.is_ok
    return last.name, last.detail


def test_a_collector_is_tried_layer_by_layer_up_to_an_empty_export(collector) -> None:
    layers = [(one.name, one.is_ok) for one in tried(collector)]
    assert layers == [("settings", True), ("name", True), ("tcp", True), ("export", True)]


def test_the_runbooks_own_probe_is_refused_by_the_same_collector(collector) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(collector + "/v1/traces")


def test_a_closed_port_is_named(closed) -> None:
    assert failing(closed)[0] == "tcp"


def test_the_port_of_grpc_is_refused_with_the_address_that_is_meant() -> None:
    name, detail = failing("http://localhost:4317")
    assert (name, "OTLP over HTTP: http://localhost:4318" in detail) == ("settings", True)


def test_a_name_that_there_is_not_is_named() -> None:
    assert failing("http://collector.invalid:4318")[0] == "name"


@pytest.mark.parametrize("wrong", ["localhost:4318", "grpc://a:4318", "http://", "http://a:b"])
def test_what_is_no_address_is_refused(wrong) -> None:
    assert failing(wrong)[0] == "settings"


def test_a_server_that_does_not_speak_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            for _ in range(2):
                client, _ = server.accept()
                with client:
                    client.sendall(b"\x00\x00\x12\x04\x00\n")

        threading.Thread(target=greet, daemon=True).start()
        name, detail = failing(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert (name, "check that OTEL_EXPORTER_OTLP_ENDPOINT" in detail) == ("export", True)


def test_a_wrong_path_is_named(collector) -> None:
    assert "to which /v1/traces is added" in failing(collector + "/elsewhere")[1]


def test_credentials_are_asked_for(collector) -> None:
    assert "answers 401" in failing(collector + "/guarded/")[1]


def test_credentials_are_sent(collector) -> None:
    assert tried(collector + "/guarded/", "authorization=Bearer%20hunter2")[-1].is_ok


def test_no_secret_is_shown(closed) -> None:
    address = closed.replace("http://", "http://user:hunter2@")
    for endpoint in (address, "user:hunter2@localhost"):
        assert "hunter2" not in str(tried(endpoint, "authorization=Bearer%20hunter2"))


def test_doctor_says_that_none_is_configured(settings, monkeypatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    layers = [one.layer for one in examine(settings, []) if "collector" in one.service]
    assert [(one.is_ok, "Not configured" in one.detail) for one in layers] == [(True, True)]


def test_doctor_fails_where_the_collector_does(tmp_path, database_url, closed, monkeypatch) -> None:
    monkeypatch.setenv(ENDPOINT, closed)
    result = Shell(tmp_path / "home", database_url)("doctor")
    said = "OpenTelemetry collector: tcp" in result.stderr
    assert (result.exit_code, said) == (1, True)
