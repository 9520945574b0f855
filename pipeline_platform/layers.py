"""The way to a service, layer by layer: name, TCP, TLS, login, permission (SA-22, SA-55).

Layers are tried in order and the first that fails ends the attempt, so that it is the cause.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult

from pipeline_platform.failures import PlatformError

Step = tuple[str, Callable[[], str]]
"""A layer's name, and what tries it: it returns one sentence or raises FailedLayerError."""


@dataclass(frozen=True)
class Layer:
    """One layer's result: `detail` is one sentence, without any secret."""

    name: str
    is_ok: bool
    detail: str
    milliseconds: float


class FailedLayerError(Exception):
    """Says in one sentence why a layer can't be passed."""


def attempted(steps: Iterable[Step]) -> Iterator[Layer]:
    """Try layers in order; stop after the first that fails."""
    for name, step in steps:
        began = time.perf_counter()
        try:
            is_ok, detail = True, step()
        except (FailedLayerError, PlatformError) as error:
            is_ok, detail = False, str(error)
        yield Layer(name, is_ok, detail, round((time.perf_counter() - began) * 1000, 1))
        if not is_ok:
            return


def connected(address: SplitResult, seconds: float) -> list[Step]:
    """Return the layers to an http or https address, as far as a connection: name, TCP, TLS."""
    host = address.hostname or ""
    is_secure = address.scheme == "https"
    port = address.port or (443 if is_secure else 80)
    steps: list[Step] = [
        ("name", lambda: resolve(host, port)),
        ("tcp", lambda: reach(host, port, seconds)),
    ]
    if is_secure:
        steps.append(("tls", lambda: secure(host, port, seconds)))
    return steps


def resolve(host: str, port: int) -> str:
    """Look a name up."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FailedLayerError(
            f"The name {host} can't be resolved ({error.strerror}); check the address "
            "and the DNS of this network."
        ) from None
    return f"{host} is {', '.join(sorted({str(item[4][0]) for item in found}))}."


def reach(host: str, port: int, seconds: float) -> str:
    """Open and close a connection."""
    try:
        socket.create_connection((host, port), seconds).close()
    except TimeoutError:
        raise FailedLayerError(
            f"{host}:{port} does not answer within {seconds} s; check "
            "security groups, firewall and route."
        ) from None
    except OSError as error:
        raise FailedLayerError(
            f"{host}:{port} refuses the connection ({error.strerror}); check that "
            "the server runs and listens there."
        ) from None
    return f"{host}:{port} accepts connections."


def secure(host: str, port: int, seconds: float) -> str:
    """Shake hands as HTTPS does, with the certificate verified."""
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return f"{host} speaks {secured.version()}; its certificate is valid."
    except ssl.SSLCertVerificationError as error:
        raise FailedLayerError(
            f"The certificate of {host} is not valid ({error.verify_message}); check the clock, "
            "the proxy and the certificate authorities of this machine."
        ) from None
    except OSError as error:
        raise FailedLayerError(f"The TLS handshake with {host} fails ({error}).") from None
