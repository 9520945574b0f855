"""The serving database: its address, and pooled connections with a limit (SA-5, SA-7, SA-60).

No message of this module holds a password: addresses are never put into one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from pipeline_platform.failures import ConflictError, UnavailableError
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.addresses import (
    require_url,
    url_from_secret,
    with_database,
    with_schema,
)

Connection = psycopg.Connection[Any]
PLATFORM_DATABASE = "platform"
_CONFLICTS = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)


def database_url(settings: Settings, name: str = PLATFORM_DATABASE) -> str:
    """Return the URL of the platform's database, or of another one beside it.

    By setting: PLATFORM_DATABASE_URL, else the secret PLATFORM_DATABASE_SECRET_NAME, else the
    embedded server, which is started if need be. Another `name` on a server that is not ours is
    created when missing; where that is not allowed a schema of that name in the platform's
    database stands in for it. Raises InvalidSettingError or UnavailableError.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        require_url(url)
    elif settings.database_secret_name is not None:
        url = url_from_secret(settings.database_secret_name, settings.s3_region)
    else:
        embedded.start(settings)
        return embedded.database_url(settings, name)
    return url if name == PLATFORM_DATABASE else _url_beside(url, name)


def reporting_url(settings: Settings) -> str:
    """Return the URL for reports: the read replica where one is set, else the database's."""
    if settings.reporting_database_url is None:
        return database_url(settings)
    url = settings.reporting_database_url.get_secret_value()
    require_url(url, "PLATFORM_REPORTING_DATABASE_URL")
    return url


def connect(url: str, *, autocommit: bool = False, seconds: int = 10) -> Connection:
    """Open one connection in UTC that the caller closes; UnavailableError without the address."""
    with database_failures():
        return psycopg.connect(_conninfo(url), autocommit=autocommit, connect_timeout=seconds)


@contextmanager
def database_failures() -> Iterator[None]:
    """Turn what may pass by itself into a TransientError; other errors of SQL stay what they are.

    Lost serialisation, deadlock and lock timeouts are ConflictError; a server that is gone, full
    or shutting down is UnavailableError.
    """
    try:
        yield
    except _CONFLICTS as error:
        raise ConflictError(
            f"The database could not give way to a concurrent change ({_reason(error)})."
        ) from error
    except PoolTimeout as error:
        raise UnavailableError(
            "No database connection became free in time; end idle work, or raise "
            "PLATFORM_DATABASE_CONNECTIONS."
        ) from error
    except psycopg.OperationalError as error:
        raise UnavailableError(
            f"The database did not do its work ({_reason(error)}); "
            "scripts/test_db_connection.py says which layer fails."
        ) from error


class Database:
    """Pooled connections to one database; opened on first use, at most `max_connections`."""

    def __init__(self, url: str, max_connections: int = 8, *, wait_seconds: float = 30) -> None:
        require_url(url)
        self.url = url
        self._was_reached = False
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            _conninfo(url),
            min_size=0,
            max_size=max_connections,
            timeout=wait_seconds,
            kwargs={"connect_timeout": 10},
            check=ConnectionPool.check_connection,
            open=False,
            name="pipeline_platform",
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection: committed at the end of the block, rolled back if it raises.

        The caller may commit in between. Raises UnavailableError when none is free in time.
        """
        self._require_server()
        with database_failures(), self._pool.connection() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection for exactly one transaction: all of the block or nothing of it."""
        with self.connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def autocommit_connection(self) -> Iterator[Connection]:
        """Open a connection of its own in which each statement stands alone.

        For what can't run in a transaction: CREATE INDEX CONCURRENTLY, VACUUM, CREATE DATABASE.
        """
        connection = connect(self.url, autocommit=True)
        try:
            with database_failures():
                yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close every connection; the database can't be used afterwards."""
        self._pool.close()

    def _require_server(self) -> None:
        """Fail at once and with the reason if the server can't be reached on first use.

        The pool would try in silence until its time is up.
        """
        if not self._was_reached:
            connect(self.url).close()
            self._was_reached = True
        self._pool.open()

    def __enter__(self) -> Self:
        """Hand out the database for a `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self.close()


def _conninfo(url: str) -> str:
    """Add our name and UTC to what the address says."""
    given = conninfo_to_dict(url)
    options = f"{given.get('options') or ''} -c timezone=UTC".strip()
    return make_conninfo(url, options=options, application_name="pipeline_platform")


def _url_beside(url: str, name: str) -> str:
    """Return the address of database `name` on the same server, made if it is missing."""
    with connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if found.fetchone() is None:
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                pass  # another process was faster
            except psycopg.errors.InsufficientPrivilege:
                schema = sql.Identifier(name)
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
                return with_schema(url, name)
    return with_database(url, name)


def _reason(error: psycopg.Error) -> str:
    """Return the server's own words, or the client's, which never hold the password."""
    return error.diag.message_primary or " ".join(str(error).split())[:300]
