"""The embedded server's write-ahead log outside of the server: where it is kept, how it is read.

Every change is in the log. A base backup and the log since make the database again as it was at any
instant (SA-92), so how much can be lost is how much of the log is not kept yet (SA-98).
"""

import re
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline_platform.failures import UnavailableError
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.server_files import ServerFiles

ARCHIVE_SECONDS = 300
"""A piece that is not full is kept after so long: a dozen chances in the hour of SA-98."""

_SCRIPT = Path(__file__).with_name("archive_wal.py")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_BYTES_OF_A_SEGMENT = 16 * 1024**2
_SEGMENTS_OF_A_FILE = 2**32 // _BYTES_OF_A_SEGMENT


def wal_location(settings: Settings, files: ServerFiles) -> str:
    """Return where the log is kept: `wal` below the backups.

    Where the server runs as `nobody`, which can't enter other folders, a local archive lies beside
    its data.
    """
    # In this order: as whom the server runs may take a process to find out.
    if "://" not in settings.backups_location and files.run_as == "nobody":
        return str(files.data.with_name("wal"))
    return f"{settings.backups_location.rstrip('/')}/wal"


def archiving_options(settings: Settings, files: ServerFiles) -> dict[str, str]:
    """Return the server's options that keep its log."""
    return {
        "archive_mode": "on",
        "archive_timeout": str(ARCHIVE_SECONDS),
        "archive_command": _command("store", wal_location(settings, files), settings, "%f", "%p"),
    }


def restore_command(settings: Settings, location: str) -> str:
    """Return the command by which a recovering server fetches its log."""
    return _command("fetch", location, settings, "%f", "%p")


def segment_of(timeline: int, lsn: str) -> str:
    """Return the name of the piece of the log that holds a position such as `0/3000028`."""
    high, low = (int(part, 16) for part in lsn.split("/"))
    return f"{timeline:08X}{high:08X}{low // _BYTES_OF_A_SEGMENT:08X}"


def missing_segments(names: Iterable[str], first: str, last: str) -> list[str]:
    """Return the pieces that lack between the first and the last of those of one timeline.

    `last` is the least that must be there; what follows it must have no gap either.
    """
    timeline = first[:8]
    present = {_number(one) for one in names if _SEGMENT.fullmatch(one) and one[:8] == timeline}
    end = max({_number(last), *present})
    return [
        f"{timeline}{number // _SEGMENTS_OF_A_FILE:08X}{number % _SEGMENTS_OF_A_FILE:08X}"
        for number in range(_number(first), end + 1)
        if number not in present
    ]


def segments_before(names: Iterable[str], first_needed: str) -> list[str]:
    """Return those pieces that lie before one, on whatever timeline; not the timelines' histories.

    `names` are those of the archive, with or without `.gz`.
    """
    pieces = [one for one in names if _SEGMENT.match(one)]
    return [one for one in pieces if one[8:24] < first_needed[8:24]]


@dataclass(frozen=True)
class Archiving:
    """What the server says about its archive.

    `recoverable_until` is the latest instant to which a lost server could be brought back: when
    the last piece was kept, or the server was started, if that is later and no finished piece
    waits (a server that is stopped in order keeps all). None: nothing is kept.
    """

    is_on: bool
    recoverable_until: datetime | None


def archiving(connection: Connection) -> Archiving:
    """Ask the server how far its log is kept; it must be the embedded one."""
    row = connection.execute(
        """
        SELECT current_setting('archive_mode') = 'on', last_archived_time,
               pg_postmaster_start_time(),
               (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')
        FROM pg_stat_archiver
        """
    ).fetchone()
    assert row is not None  # noqa: S101 -- the view has exactly one row
    is_on, archived_at, started_at, waiting = row
    until = archived_at if waiting or archived_at is None else max(archived_at, started_at)
    return Archiving(is_on, until if is_on else None)


def kept_elsewhere(connection: Connection) -> tuple[datetime | None, str | None]:
    """Return up to when a server that is not ours keeps its log, or why that can't be measured.

    It tells itself what it hands to its archive, which any role may read (SA-92). Whether base
    backups to begin from exist, only who runs it knows.
    """
    row = connection.execute(
        """
        SELECT current_setting('archive_mode'), pg_is_in_recovery(), last_archived_time,
               last_failed_wal, coalesce(last_failed_time > last_archived_time, last_failed_time
                   IS NOT NULL)
        FROM pg_stat_archiver
        """
    ).fetchone()
    assert row is not None  # noqa: S101 -- the view has exactly one row
    mode, is_standby, archived_at, failed_wal, is_failing = row
    if mode == "off":
        return None, (
            "archive_mode is off on the server of PLATFORM_DATABASE_URL: ask who runs it for the "
            "latest restorable time, or have archive_mode and archive_command set"
        )
    if is_standby:
        return None, "PLATFORM_DATABASE_URL names a standby; its primary keeps the log"
    if archived_at is None:
        why = f"; it fails to, last with {failed_wal}" if is_failing else " since it was made"
        return None, f"the server of PLATFORM_DATABASE_URL has archived nothing of its log{why}"
    return archived_at, None


def keep_all(connection: Connection, *, seconds: float = 120) -> None:
    """End the present piece of the log and wait until it is kept; UnavailableError if it is not."""
    row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
    assert row is not None  # noqa: S101 -- a function's result is one row
    end = time.monotonic() + seconds
    status = "SELECT FROM pg_ls_archive_statusdir() WHERE name = %s"
    while connection.execute(status, (f"{row[0]}.ready",)).fetchone() is not None:
        if time.monotonic() > end:
            raise UnavailableError(
                f"The piece {row[0]} of the database's log was not kept within {seconds:g} s; the "
                "server's log says why (`pipeline-platform database status` says where it is)."
            )
        time.sleep(0.05)


def _number(segment: str) -> int:
    return int(segment[8:16], 16) * _SEGMENTS_OF_A_FILE + int(segment[16:24], 16)


def _command(what: str, location: str, settings: Settings, name: str, path: str) -> str:
    """Return a command for the server, which fills in `%f` and `%p` and no other percent sign."""
    given = [sys.executable, "-I", str(_SCRIPT), what, location]
    fixed = shlex.join(given).replace("%", "%%")
    where = [settings.s3_region, *([settings.s3_endpoint] if settings.s3_endpoint else [])]
    return f"{fixed} {name} {path} {shlex.join(where).replace('%', '%%')}"
