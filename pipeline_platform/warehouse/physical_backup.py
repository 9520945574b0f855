"""Base backups of the embedded server, and servers that are made of one and the log since."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pipeline_platform.failures import PlatformError, UnavailableError
from pipeline_platform.warehouse.embedded import OPTIONS, USER
from pipeline_platform.warehouse.server_files import ServerFiles, binaries

FILES = ("base.tar.gz", "pg_wal.tar.gz", "backup_manifest")
HOURS_TO_RECOVER = 12
"""Longer than any promise of ours: a recovery that takes so long has stopped."""
_SECONDS_BETWEEN_LOOKS = 0.05
_SOCKET_PORT = "5432"
_SHORT = "/tmp"  # noqa: S108 - a folder of our own in it; a socket's path is 107 bytes at most


@dataclass(frozen=True)
class LogRange:
    """The part of the log that a base backup needs to be consistent."""

    timeline: int
    start_lsn: str
    end_lsn: str


@dataclass(frozen=True)
class Target:
    """Up to where a server is brought back: an instant, a position of the log, or all there is.

    A position is that of the first change that is left out.
    """

    at: datetime | None = None
    lsn: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """The options of a recovering server."""
        if self.lsn is not None:
            return {"recovery_target_lsn": self.lsn, "recovery_target_inclusive": "off"}
        if self.at is not None:
            return {"recovery_target_time": f"{self.at:%Y-%m-%d %H:%M:%S.%f%z}"}
        return {}

    def __str__(self) -> str:
        """Say it in a sentence."""
        if self.at is not None:
            return f"{self.at:%Y-%m-%d %H:%M:%S} UTC"
        return "the newest kept change" if self.lsn is None else f"position {self.lsn} of the log"


def client(program: str, arguments: list[str], url: str, *, seconds: float) -> None:
    """Run one of PostgreSQL's client programs against a server; UnavailableError if it fails.

    The password goes through the environment, which other users can't read.
    """
    parts = conninfo_to_dict(url)
    password = str(parts.pop("password", ""))
    address = " ".join(f"{name}='{_escaped(str(value))}'" for name, value in parts.items())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    command = [str(binaries() / program), f"--dbname={address}", "--no-password", *arguments]
    try:
        done = subprocess.run(
            command,
            env={**kept, "PGPASSWORD": password, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{program} did not end within {seconds:g} s.") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-500:].replace(password or "\0", "...")
        raise UnavailableError(f"{program} failed ({said}).")


def take(url: str, folder: Path) -> LogRange:
    """Copy the running server into a new folder, as FILES; nobody has to wait for it.

    Pages are verified against their checksums on the way. UnavailableError says what failed.
    """
    arguments = [
        f"--pgdata={folder}",
        "--format=tar",
        "--compress=client-gzip:1",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
    ]
    client("pg_basebackup", arguments, url, seconds=HOURS_TO_RECOVER * 3600)
    (found,) = json.loads((folder / "backup_manifest").read_text("utf-8"))["WAL-Ranges"]
    return LogRange(found["Timeline"], found["Start-LSN"], found["End-LSN"])


def faults_of(folder: Path) -> list[str]:
    """Read a base backup's files and compare each within with PostgreSQL's own manifest of them.

    What `pg_verifybackup` does; that of the wheel ends with a segmentation fault (18.4).
    """
    manifest = json.loads((folder / "backup_manifest").read_text("utf-8"))
    expected = {one["Path"]: one["Checksum"] for one in manifest["Files"]}
    faults = []
    try:
        with tarfile.open(folder / "base.tar.gz", "r:gz") as archive:
            for member in archive:
                content = archive.extractfile(member)
                wanted = expected.pop(member.name, None)
                if content is None or wanted is None:
                    continue
                digest = hashlib.sha256()
                while piece := content.read(1024**2):
                    digest.update(piece)
                if digest.hexdigest() != wanted:
                    faults.append(f"the copy's file {member.name} is not what the server had")
        with tarfile.open(folder / "pg_wal.tar.gz", "r:gz") as archive:
            for member in archive:
                archive.extractfile(member)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        faults.append(f"the copy of the database can't be read ({error})")
    return [*faults, *(f"the copy's file {path} is missing" for path in expected)][:10]


def unpack(files: ServerFiles, folder: Path, data: Path) -> None:
    """Make a data directory of a base backup's files, replacing what lies there."""
    # Python 3.11.4 brought filters; a copy that was verified holds the server's own files.
    safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    for name, target in (("base.tar.gz", data), ("pg_wal.tar.gz", data / "pg_wal")):
        with tarfile.open(folder / name) as archive:
            archive.extractall(target, **safely)  # noqa: S202 -- verified before
    if files.run_as == "nobody":
        for path in [data, *data.rglob("*")]:
            files.give(path)


@contextmanager
def recovered(
    files: ServerFiles,
    data: Path,
    restore_command: str,
    target: Target,
    *,
    is_final: bool,
    options: dict[str, str] | None = None,
) -> Iterator[str]:
    """Start a server on an unpacked base backup, take it up to the target, and stop it at the end.

    Yields the address of its database `platform`. Only its owner reaches it, through a socket and
    without a password. `is_final`: it takes writes; else it only reads, and a later call can take
    it further. Raises UnavailableError when the log ends before the target.
    """
    with tempfile.TemporaryDirectory(prefix="pg-", dir=_SHORT) as temporary:
        socket = Path(temporary)
        rules = socket / "pg_hba.conf"
        rules.write_text("local all all trust\n", "utf-8")
        for path in (socket, rules):
            files.give(path)
        (data / "recovery.signal").touch()
        files.give(data / "recovery.signal")
        log = data.with_name(f"{data.name}.log")
        log.unlink(missing_ok=True)
        given = {
            **OPTIONS,
            "shared_buffers": "64MB",
            "listen_addresses": "",
            "unix_socket_directories": str(socket),
            "port": _SOCKET_PORT,
            "hba_file": str(rules),
            "restore_command": restore_command,
            "recovery_target_action": "promote" if is_final else "pause",
            "archive_mode": "off",
            **target.options,
            **(options or {}),
        }
        url = f"postgresql://{USER}@/platform?host={quote(str(socket), safe='')}&port=5432"
        try:
            files.start(data, log, given, HOURS_TO_RECOVER * 3600)
            _wait(url, log, target, is_final=is_final)
        except UnavailableError as error:
            _stop(files, data)
            raise _said(log, target) from error
        try:
            yield url
        finally:
            _stop(files, data)


def _wait(url: str, log: Path, target: Target, *, is_final: bool) -> None:
    """Wait until the server is where it was to be taken."""
    end = time.monotonic() + HOURS_TO_RECOVER * 3600
    question = "SELECT pg_is_in_recovery(), pg_is_in_recovery() AND pg_is_wal_replay_paused()"
    while time.monotonic() < end:
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
                row = connection.execute(question).fetchone()
        except psycopg.OperationalError:
            break
        if row is None or not row[0] or (row[1] and not is_final):
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise _said(log, target)


def _stop(files: ServerFiles, data: Path) -> None:
    """Stop a server, also one that is about to end by itself: then there is nothing to say."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    arguments = ["stop", "--wait", "--mode=fast", f"--pgdata={data}"]
    try:
        files.run("pg_ctl", arguments, seconds=600)
    except PlatformError:
        if lock.exists():
            raise


def _said(log: Path, target: Target) -> UnavailableError:
    """Return an error with the server's last complaint."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    fatal = [line.split("FATAL:", 1)[1].strip() for line in lines if "FATAL:" in line]
    said = fatal[-1] if fatal else "no reason was given"
    return UnavailableError(
        f"The database could not be brought back to {target} ({said}); choose an earlier instant "
        f"or another backup. {log} has the server's words."
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
