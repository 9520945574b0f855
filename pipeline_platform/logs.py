"""Logs: for people, or as JSON lines found by run, pipeline and request (X-21, ST-73, SC-32).

A line has the fields of ST-73 (`REQUIRED`), and of the rest what is known: `pipelineId`, `run_id`,
`step`, `partition`, `file_sha256`, `duration_seconds`, `error`. Nothing here raises: a disk that is
full ends no run. Secrets and personal data are left out (`censor`); who acted is a hash.
"""

import hashlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pipeline_platform.censor import Censor
from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.settings import LOG_LEVELS, Settings

LOGGER = "pipeline_platform"
REQUIRED = (
    "timestamp",
    "level",
    "request_id",
    "user_id",
    "component",
    "operation",
    "duration_ms",
    "status",
    "message",
    "metadata",
)
"""The fields of ST-73, on every line; null where there is nothing to say."""
OPTIONAL = ("pipelineId", "run_id", "step", "partition", "file_sha256", "duration_seconds")
LEVEL_FIELD = "log_level"
FRAMES = 5
_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default={})  # noqa: B039


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def __init__(self, component: str, censor: Censor) -> None:
        super().__init__()
        self._component = component
        self._censor = censor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        given = fields_of(record)
        line: dict[str, object] = dict.fromkeys(REQUIRED)
        at = datetime.fromtimestamp(record.created, UTC)
        line |= {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "component": self._component,
            "operation": record.name,
            "status": "error" if record.levelno >= logging.ERROR else "success",
            "message": _message(record),
        }
        known = {*REQUIRED, *OPTIONAL, LEVEL_FIELD}
        line |= {name: value for name, value in given.items() if name in known - {LEVEL_FIELD}}
        line["metadata"] = {name: value for name, value in given.items() if name not in known}
        if isinstance(line["duration_ms"], int | float):
            line["duration_seconds"] = round(line["duration_ms"] / 1000, 3)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _described(record.exc_info[1])
        return json.dumps(self._cleaned(line), default=str)

    def _cleaned(self, value: object) -> object:
        if isinstance(value, str):
            return self._censor.clean(value)
        if isinstance(value, Mapping):
            return {str(name): self._cleaned(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._cleaned(one) for one in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._censor.clean(str(value))


class PlainLine(logging.Formatter):
    """Formats a record for people; what JSON lines leave out is left out here, too."""

    def __init__(self, censor: Censor) -> None:
        super().__init__("%(levelname)s: %(message)s")
        self._censor = censor

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        return self._censor.clean(super().format(record))


class DayFile(logging.Handler):
    """Appends lines to the file of their UTC day, beside other processes that do the same."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._opened: tuple[str, int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line at once: lines of several processes never mix."""
        try:
            line = self.format(record).encode("utf-8", "replace") + b"\n"
            day = datetime.fromtimestamp(record.created, UTC).date().isoformat()
            os.write(self._descriptor(day), line)
        except Exception:
            # A log that can't be written ends nothing; the last resort is the screen.
            sys.stderr.write("A line could not be added to the log.\n")

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            os.close(self._opened[1])
            self._opened = None
        super().close()

    def _descriptor(self, day: str) -> int:
        if self._opened is None or self._opened[0] != day:
            if self._opened is not None:
                os.close(self._opened[1])
                self._opened = None
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{day}.jsonl"
            self._opened = day, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        return self._opened[1]


class _IsWanted(logging.Filter):
    """Lets a record through whose level is that of its run, else of its pipeline, else of all."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._default, self._by_pipeline = settings.log_levels

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(LOGGER):
            return record.levelno >= logging.WARNING
        given = fields_of(record)
        pipeline = str(given.get("pipelineId", ""))
        wanted = str(given.get(LEVEL_FIELD, "")).lower()
        level = LOG_LEVELS.get(wanted) or self._by_pipeline.get(pipeline, self._default)
        return record.levelno >= level


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Give every line of the block some fields, in this thread or task and those it begins."""
    token = _FIELDS.set({**_FIELDS.get(), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def bound_fields() -> Mapping[str, object]:
    """Return the fields that lines have here."""
    return _FIELDS.get()


def told(**fields: object) -> dict[str, object]:
    """Return fields as the `extra` of a log call; those without a value are left out."""
    return {"fields": {name: value for name, value in fields.items() if value is not None}}


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the fields of a record: those of its block and its own."""
    return {**_FIELDS.get(), **getattr(record, "fields", {})}


def hashed(text: str) -> str:
    """Return what stands for a name: the same for the same name, and not the name."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def folder_of(settings: Settings) -> Path:
    """Return where JSON lines are: a file a UTC day, `2026-11-29.jsonl`."""
    return settings.home / "logs"


def set_up(settings: Settings, component: str, *, on_screen: bool = False) -> bool:
    """Send this process's log where the settings say; tell whether it is of JSON lines.

    JSON lines go to the day's file and, with `on_screen`, also to stderr. For people only warnings
    are shown unless PLATFORM_LOG_LEVEL says otherwise. Repeating it changes nothing.
    """
    is_json = settings.writes_json_logs
    censor = Censor(settings)
    screen = logging.StreamHandler()
    handlers: list[logging.Handler] = [screen] if on_screen or not is_json else []
    if is_json:
        handlers.append(DayFile(folder_of(settings)))
    root = logging.getLogger()
    for one in [one for one in root.handlers if isinstance(one.formatter, JsonLine | PlainLine)]:
        root.removeHandler(one)
        one.close()
    for handler in handlers:
        handler.setFormatter(JsonLine(component, censor) if is_json else PlainLine(censor))
        handler.addFilter(_IsWanted(settings))
        root.addHandler(handler)
    logging.getLogger(LOGGER).setLevel(logging.DEBUG)  # the handlers decide
    return is_json


def is_structured(component: str) -> bool:
    """Tell whether the log is of JSON lines; of a process that Dagster started it is set up first.

    Without JSON nothing is set up there: what Dagster shows of its runs is enough for people.
    """
    formatters = [one.formatter for one in logging.getLogger().handlers]
    if any(isinstance(one, JsonLine | PlainLine) for one in formatters):
        return any(isinstance(one, JsonLine) for one in formatters)
    return _from_environment(component)


@cache
def _from_environment(component: str) -> bool:
    try:
        settings = Settings.from_env()
    except InvalidSettingError:
        return False
    return settings.writes_json_logs and set_up(settings, component)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _described(error: BaseException) -> dict[str, object]:
    """Return type, words and last places of an error; values of variables are never shown."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames]
    cause = error.__cause__
    described: dict[str, object] = {
        "type": type(error).__name__,
        "message": str(error),
        "at": places,
    }
    return {**described, "cause": type(cause).__name__} if cause else described
