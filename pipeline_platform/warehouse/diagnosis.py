"""Which layer of the way to the database fails: name, TCP, TLS, login, read, write, latency.

For SA-22 and SA-55. Layers are tried in order and the first that fails ends the diagnosis.
"""

import socket
import ssl
import statistics
import struct
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pipeline_platform.layers import FailedLayerError, Layer, Step, attempted, reach, resolve
from pipeline_platform.warehouse.addresses import require_url

QUERY_LIMIT_SECONDS = 5.0
"""Longest response of a query (SA-87)."""
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_SAMPLES = 5
_MUST_ENCRYPT = ("require", "verify-ca", "verify-full")


def diagnose(url: str, *, seconds: int = 5) -> Iterator[Layer]:
    """Try the way to the database, layer by layer; stop after the first that fails.

    `seconds` limits each attempt to connect. Writes only into a temporary table.
    """
    way = _Way(url, seconds)
    try:
        yield from attempted(way.steps())
    finally:
        way.close()


class _Way:
    """The state that the layers hand on to each other."""

    def __init__(self, url: str, seconds: int) -> None:
        self._url = url
        self._seconds = seconds
        self._host = ""
        self._port = 5432
        self._ssl_mode = "prefer"
        self._connection: psycopg.Connection[Any] | None = None

    def steps(self) -> list[Step]:
        return [
            ("address", self._address),
            ("name", self._name),
            ("tcp", self._tcp),
            ("tls", self._tls),
            ("login", self._login),
            ("read", self._read),
            ("write", self._write),
            ("latency", self._latency),
        ]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _address(self) -> str:
        require_url(self._url)
        parts = conninfo_to_dict(self._url)
        self._host = str(parts.get("host") or "localhost").split(",")[0]
        self._port = int(str(parts.get("port") or "5432").split(",")[0])
        self._ssl_mode = str(parts.get("sslmode") or "prefer")
        return f"Server {self._host}, port {self._port}, database {parts.get('dbname', '?')}."

    def _name(self) -> str:
        return resolve(self._host, self._port)

    def _tcp(self) -> str:
        return reach(self._host, self._port, self._seconds)

    def _tls(self) -> str:
        must = self._ssl_mode in _MUST_ENCRYPT
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the driver verifies, by sslmode, when it logs in
        try:
            with socket.create_connection((self._host, self._port), self._seconds) as plain:
                plain.sendall(_SSL_REQUEST)
                if plain.recv(1) == b"S":
                    with context.wrap_socket(plain, server_hostname=self._host) as secured:
                        return f"The server offers {secured.version()}."
        except OSError as error:
            raise FailedLayerError(f"The TLS handshake fails ({error}).") from None
        if must:
            raise FailedLayerError(
                f"The server offers no TLS but sslmode is {self._ssl_mode}; switch TLS on there."
            )
        return "The server offers no TLS; the connection is not encrypted."

    def _login(self) -> str:
        try:
            self._connection = psycopg.connect(
                self._url, connect_timeout=self._seconds, autocommit=True
            )
        except psycopg.OperationalError as error:
            said = " ".join(str(error).split())[:300]
            raise FailedLayerError(
                f"The login fails: {said}; check user, password, database and pg_hba.conf."
            ) from None
        row = self._ask("SELECT current_user, current_setting('server_version')")
        tls = self._ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return (
            f"Logged in as {row[0]}, PostgreSQL {row[1]}, encrypted: {'yes' if tls[0] else 'no'}."
        )

    def _read(self) -> str:
        tables = self._ask(
            """
            SELECT count(*), count(*) FILTER (WHERE NOT has_table_privilege(c.oid, 'SELECT'))
            FROM pg_class AS c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
            """
        )
        if tables[1]:
            raise FailedLayerError(
                f"{tables[1]} of {tables[0]} tables can't be read; grant SELECT on them."
            )
        return f"All {tables[0]} tables of schema public can be read."

    def _write(self) -> str:
        connection = self._connected()
        try:
            connection.execute("CREATE TEMPORARY TABLE connection_test (value integer)")
            connection.execute("INSERT INTO connection_test VALUES (1)")
        except psycopg.Error as error:
            raise FailedLayerError(
                f"Nothing can be written ({error.diag.message_primary}); is this a read replica, "
                "or does the role lack TEMPORARY on the database?"
            ) from None
        row = self._ask("SELECT value FROM connection_test")
        connection.execute("DROP TABLE connection_test")
        return f"Wrote and read back {row[0]} row."

    def _latency(self) -> str:
        taken = []
        for _ in range(_SAMPLES):
            began = time.perf_counter()
            self._ask("SELECT 1")
            taken.append(time.perf_counter() - began)
        median = statistics.median(taken)
        if median >= QUERY_LIMIT_SECONDS:
            raise FailedLayerError(
                f"A trivial query takes {median:.1f} s, the limit is {QUERY_LIMIT_SECONDS:g} s; "
                "look at the server's load."
            )
        return f"A trivial query takes {median * 1000:.1f} ms (median of {_SAMPLES})."

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise FailedLayerError("There is no connection; log in first.")
        return self._connection

    def _ask(self, query: str) -> tuple[Any, ...]:
        try:
            row = self._connected().execute(query.encode()).fetchone()
        except psycopg.Error as error:
            raise FailedLayerError(
                f"The server does not answer a query ({error.diag.message_primary})."
            ) from None
        return row or ()
