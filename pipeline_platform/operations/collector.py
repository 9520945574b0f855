"""The way to an OpenTelemetry collector, as far as an export of nothing (SP-30, D-14).

OTLP over HTTP takes POST only and accepts a request without any telemetry, which in Protobuf is no
byte at all (opentelemetry.io/docs/specs/otlp). OTLP over gRPC has a port of its own.
"""

import http.client
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline_platform.layers import FailedLayerError, Step, connected

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""OpenTelemetry's own variables: a base address, and `name=value` pairs, which may be secret."""
GRPC_PORT = 4317
HTTP_PORT = 4318
PATH = "/v1/traces"
_REMEDIES = {
    401: f"give its credentials in {HEADERS}",
    403: f"check the credentials in {HEADERS}",
    404: f"check the path of {ENDPOINT}, to which {PATH} is added",
    405: f"check that {ENDPOINT} is OTLP over HTTP and no other service",
}


def collector_steps(environment: Mapping[str, str], seconds: float) -> Iterator[Step]:
    """Yield the layers to the collector that the environment names; without one it only says so."""
    endpoint = environment.get(ENDPOINT)
    if not endpoint:
        yield "settings", lambda: f"Not configured: {ENDPOINT} is not set, so nothing is tried."
        return
    yield "settings", lambda: _checked(endpoint)
    address = urlsplit(endpoint)
    yield from connected(address, seconds)
    yield "export", lambda: _export(address, environment.get(HEADERS, ""), seconds)


def _checked(endpoint: str) -> str:
    """Refuse an address that OTLP over HTTP can't have; it may hold a password and isn't shown."""
    try:
        address = urlsplit(endpoint)
        port = address.port
    except ValueError:
        address, port = urlsplit(""), None
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise FailedLayerError(
            f"{ENDPOINT} is no address; give one such as http://localhost:{HTTP_PORT}."
        )
    if port == GRPC_PORT:
        raise FailedLayerError(
            f"Port {GRPC_PORT} is OTLP over gRPC; {ENDPOINT} must be OTLP over HTTP: "
            f"{address.scheme}://{address.hostname}:{HTTP_PORT}."
        )
    return f"{ENDPOINT} is OTLP over HTTP at {address.hostname}."


def _export(address: SplitResult, headers: str, seconds: float) -> str:
    """Export nothing; raise FailedLayerError unless the answer is 200."""
    pairs = (one.partition("=") for one in headers.split(",") if "=" in one)
    sent = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    opened = (
        http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    )
    connection = opened(address.hostname or "", address.port, timeout=seconds)
    try:
        connection.request(
            "POST",
            address.path.rstrip("/") + PATH,
            b"",
            {**sent, "Content-Type": "application/x-protobuf"},
        )
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FailedLayerError(
            f"{address.hostname} does not answer as HTTP does ({type(error).__name__}); check that "
            f"{ENDPOINT} is OTLP over HTTP, port {HTTP_PORT} unless it was changed."
        ) from None
    finally:
        connection.close()
    if status != http.client.OK:
        remedy = _REMEDIES.get(status, "look at the collector's log")
        raise FailedLayerError(f"The collector answers {status} to an empty export; {remedy}.")
    return f"The collector accepts an export to {PATH}."
