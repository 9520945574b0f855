"""The embedded PostgreSQL: started on first use, one per home folder, shared by all processes.

The programs come in a wheel. The server listens on 127.0.0.1 only, on a port and with a random
password that it keeps below the home folder; it outlives the process that started it, until
`stop`. Two processes may start it at once; a killed server recovers on the next start.
"""

import fcntl
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from pipeline_platform.failures import ConflictError, InvalidSettingError, UnavailableError
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.addresses import with_database
from pipeline_platform.warehouse.server_files import ServerFiles, installed_version, write_privately
from pipeline_platform.warehouse.wal import archiving_options

USER = "platform"
DATABASES = ("platform", "dagster", "iceberg_catalog")
_ATTEMPTS = 20
_START_SECONDS = 60
_SECONDS_BETWEEN_ATTEMPTS = 0.5
_SCRAM_ITERATIONS = "1"
"""More would slow down guessing a password; ours is random, and each connection pays for them."""
_REACHED_BY = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
OPTIONS = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "work_mem": "16MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "password_encryption": "scram-sha-256",
    "scram_iterations": _SCRAM_ITERATIONS,
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""Options of a server whose data are thrown away: losing power may damage them."""


@dataclass(frozen=True)
class ServerStatus:
    """State of the embedded server; `port` and `pid` are None when it does not run."""

    is_running: bool
    port: int | None
    pid: int | None
    data_directory: Path


def start(settings: Settings, *, is_durable: bool = True) -> str:
    """Start the server unless it runs; return the URL of its database `platform`.

    It keeps its log below the backups, so that it can be brought back to any instant (SA-92).
    `is_durable=False` (for what is thrown away, as in tests and drills) trades safety against loss
    of power for speed, and keeps nothing. Raises UnavailableError with the server's own words when
    it can't be started.
    """
    files = ServerFiles(settings.home)
    if _answers(files):
        return _url(files, DATABASES[0])
    files.prepare()
    with _locked(files.lock):
        if not _answers(files):
            _initialise(files, files.make_password())
            if not _is_coming_up(files):
                kept = archiving_options(settings, files) if is_durable else NOT_DURABLE
                _start(files, {**OPTIONS, **_REACHED_BY, **kept})
            _create_databases(files)
    return _url(files, DATABASES[0])


def stop(settings: Settings, *, seconds: float = 60) -> bool:
    """Stop the server (open transactions are rolled back); False if it did not run."""
    files = ServerFiles(settings.home)
    if not files.folder.exists():
        return False
    with _locked(files.lock):
        postmaster = files.postmaster()
        if postmaster is None or not files.is_alive(postmaster):
            return False
        os.kill(postmaster.pid, signal.SIGINT)
        end = time.monotonic() + seconds
        while (files.data / "postmaster.pid").exists() and files.is_alive(postmaster):
            if time.monotonic() > end:
                raise UnavailableError(
                    f"The embedded PostgreSQL (process {postmaster.pid}) did not stop within "
                    f"{seconds:g} s; see {files.log}."
                )
            time.sleep(0.02)
    return True


@contextmanager
def kept_stopped(settings: Settings) -> Iterator[ServerFiles]:
    """Stop the server and let nobody start it within the block; lend its files."""
    stop(settings)
    files = ServerFiles(settings.home)
    files.prepare()
    with _locked(files.lock):
        if status(settings).is_running:
            raise ConflictError("The embedded PostgreSQL was started meanwhile; try again.")
        files.make_password()
        yield files


def status(settings: Settings) -> ServerStatus:
    """Say whether the server runs, and where; starts nothing."""
    files = ServerFiles(settings.home)
    postmaster = files.postmaster() if files.folder.exists() else None
    if postmaster is None or not files.is_alive(postmaster):
        return ServerStatus(False, None, None, files.data)
    return ServerStatus(True, postmaster.port, postmaster.pid, files.data)


def was_killed(settings: Settings) -> bool:
    """Tell whether the server ended without having been stopped; starts nothing."""
    files = ServerFiles(settings.home)
    postmaster = files.postmaster() if files.folder.exists() else None
    return postmaster is not None and not files.is_alive(postmaster)


def database_url(settings: Settings, name: str = "platform") -> str:
    """Return the URL of a database of the embedded server, which must have been started once."""
    files = ServerFiles(settings.home)
    if files.password() is None or files.port() is None:
        raise InvalidSettingError(
            f"There is no embedded PostgreSQL below {settings.home}; start it first."
        )
    return _url(files, name)


def databases_at(url: str) -> dict[str, str]:
    """Return the addresses of all databases of a server of ours, by name."""
    return {name: with_database(url, name) for name in DATABASES}


def _url(files: ServerFiles, name: str) -> str:
    password = quote(files.password() or "", safe="")
    return f"postgresql://{USER}:{password}@127.0.0.1:{files.port()}/{quote(name, safe='')}"


def _answers(files: ServerFiles, name: str = DATABASES[-1]) -> bool:
    """Tell whether our server accepts us; another one on the same port lacks our password."""
    if files.password() is None or files.port() is None:
        return False
    try:
        psycopg.connect(_url(files, name), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _is_coming_up(files: ServerFiles) -> bool:
    """Wait for a server that runs already: its starter was killed before it was ready."""
    end = time.monotonic() + _START_SECONDS
    while (postmaster := files.postmaster()) and files.is_alive(postmaster):
        if postmaster.port:
            files.remember_port(postmaster.port)
        if _answers(files, "postgres"):
            return True
        if time.monotonic() > end:
            raise UnavailableError(
                f"The embedded PostgreSQL (process {postmaster.pid}) runs but accepts no "
                f"connection, perhaps because all are taken; see {files.log}."
            )
        time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; it ends with the process, however it ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _initialise(files: ServerFiles, password: str) -> None:
    """Make the data directory beside its place, so that a killed attempt is never taken for one.

    Data that were brought back take the place of none: a restoration was killed before its last
    step, and a new, empty server must not come before it.
    """
    if not files.data.exists() and files.restored_data.exists():
        files.restored_data.rename(files.data)
    if (files.data / "PG_VERSION").exists():
        _require_same_version(files)
        return
    fresh = files.data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    password_file = files.data.with_name("password.initdb")
    write_privately(password_file, password)
    files.give(password_file)
    try:
        files.run(
            "initdb",
            [
                f"--pgdata={fresh}",
                f"--username={USER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
                f"--set=scram_iterations={_SCRAM_ITERATIONS}",
            ],
            seconds=120,
        )
    finally:
        password_file.unlink()
    fresh.rename(files.data)


def _require_same_version(files: ServerFiles) -> None:
    """Refuse data of another major version, which this server could not read."""
    made_by = (files.data / "PG_VERSION").read_text("utf-8").strip()
    if made_by != installed_version():
        raise InvalidSettingError(
            f"{files.data} was made by PostgreSQL {made_by}, installed is {installed_version()}; "
            "dump it with the old version, or set PLATFORM_HOME to a new folder."
        )


def _start(files: ServerFiles, options: Mapping[str, str]) -> None:
    """Start the server on its old port, or on a new one when that is taken."""
    failure = UnavailableError("The embedded PostgreSQL was not tried.")
    for _ in range(_ATTEMPTS):
        files.disown_stale_pid()
        port = files.port()
        if port is None or not _is_free(port):
            port = _free_port()
        try:
            files.start(files.data, files.log, {"port": str(port), **options}, _START_SECONDS)
        except UnavailableError as error:
            # Orphaned backends of a killed server end within moments, and a port that was free
            # may be taken by now: both are over on a later attempt.
            failure = error
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            files.remember_port(port)
            return
    raise failure


def _create_databases(files: ServerFiles) -> None:
    with psycopg.connect(_url(files, "postgres"), autocommit=True) as conn:
        present = {row[0] for row in conn.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in present:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
