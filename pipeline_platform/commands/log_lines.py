"""The platform's own log, read back or followed: JSON lines of this machine."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from pipeline_platform.failures import NotFoundError
from pipeline_platform.logs import folder_of
from pipeline_platform.settings import Settings

Line = Mapping[str, Any]
SECONDS_BETWEEN_LOOKS = 0.5
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True)
class Wanted:
    """Which lines: since an instant, at least of a level, of a pipeline and of a request."""

    since: datetime
    level: str = "debug"
    pipeline: str | None = None
    request: str | None = None

    def has(self, line: Line) -> bool:
        """Tell whether a line is wanted."""
        given = {"pipelineId": self.pipeline, "request_id": self.request}
        is_of_it = all(value is None or line.get(name) == value for name, value in given.items())
        return is_of_it and _is_at_least(line, self.level) and _at(line) >= self.since


class LogFiles:
    """The files of the log, and what was added to any of them since they were read last.

    They stay open: one that was renamed or removed is read to its end, and a new one, such as the
    next day's, from its beginning. Files of days before the first one are left out. Raises
    NotFoundError where nothing is logged as JSON lines.
    """

    def __init__(self, settings: Settings, first: datetime) -> None:
        self._folder = folder_of(settings)
        self._first = first.astimezone(UTC).date().isoformat()
        self._opened: dict[int, BinaryIO] = {}
        if next(self._folder.glob("*.jsonl"), None) is None:
            raise NotFoundError(
                f"There is no log in {self._folder}; PLATFORM_LOG_FORMAT=json (the default in "
                "staging and production) makes processes write one."
            )

    def added(self) -> Iterator[Line]:
        """Yield the lines that were added, in their order.

        What is no JSON object, such as half a line of a machine that went down, is passed over; a
        line that is not ended yet comes next time.
        """
        for path in sorted(self._folder.glob("*.jsonl")):
            # One may be removed at any moment.
            with suppress(FileNotFoundError):
                if path.stem >= self._first and path.stat().st_ino not in self._opened:
                    opened = path.open("rb")
                    self._opened[os.fstat(opened.fileno()).st_ino] = opened
        for number, file in [*self._opened.items()]:
            yield from _objects(file)
            if os.fstat(file.fileno()).st_nlink == 0:
                self._opened.pop(number).close()

    def close(self) -> None:
        """Close the files."""
        for file in self._opened.values():
            file.close()


def lines_of(settings: Settings, wanted: Wanted) -> Iterator[Line]:
    """Yield the lines that are wanted, in their order; raise NotFoundError without a log."""
    with closing(LogFiles(settings, wanted.since)) as files:
        yield from filter(wanted.has, files.added())


def followed(
    settings: Settings, wanted: Wanted, newest: int, seconds: float = SECONDS_BETWEEN_LOOKS
) -> Iterator[Line]:
    """Yield the newest lines that are wanted, then each that is added, without an end."""
    with closing(LogFiles(settings, wanted.since)) as files:
        yield from deque(filter(wanted.has, files.added()), maxlen=newest)
        while True:
            time.sleep(seconds)
            yield from filter(wanted.has, files.added())


def row_of(line: Line) -> dict[str, object]:
    """Return what a person reads of a line."""
    return {
        "at (UTC)": str(line.get("timestamp", ""))[:19].replace("T", " "),
        "level": line.get("level"),
        "operation": line.get("operation"),
        "step": line.get("step"),
        "run": str(line.get("run_id") or "")[:8] or None,
        "message": line.get("message"),
    }


def _objects(file: BinaryIO) -> Iterator[Line]:
    """Yield what stands behind the place up to which a file was read; it may have been cut."""
    if os.fstat(file.fileno()).st_size < file.tell():
        file.seek(0)
    while (text := file.readline()).endswith(b"\n"):
        try:
            found = json.loads(text.decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
    file.seek(-len(text), os.SEEK_CUR)


def _is_at_least(line: Line, level: str) -> bool:
    name = str(line.get("level"))
    return name in _LEVELS and _LEVELS.index(name) >= _LEVELS.index(level.upper())


def _at(line: Line) -> datetime:
    try:
        return datetime.fromisoformat(str(line.get("timestamp")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
