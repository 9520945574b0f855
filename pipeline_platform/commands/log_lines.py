"""The platform's own log, read back: JSON lines of this machine, by pipeline, request or run."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_platform.failures import NotFoundError
from pipeline_platform.logs import folder_of
from pipeline_platform.settings import Settings

Line = Mapping[str, Any]
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def lines_since(
    settings: Settings,
    since: datetime,
    *,
    level: str = "debug",
    pipeline: str | None = None,
    request: str | None = None,
) -> Iterator[Line]:
    """Yield the lines of a pipeline, of a request or of both since an instant, in their order.

    What is no JSON object, such as half a line of a machine that went down, is passed over. Raises
    NotFoundError where nothing is logged as JSON lines.
    """
    folder = folder_of(settings)
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise NotFoundError(
            f"There is no log in {folder}; PLATFORM_LOG_FORMAT=json (the default in staging and "
            "production) makes processes write one."
        )
    first = since.astimezone(UTC).date().isoformat()
    wanted = {"pipelineId": pipeline, "request_id": request}
    for path in files:
        if path.stem >= first:
            for line in _objects(path):
                is_wanted = all(
                    value is None or line.get(name) == value for name, value in wanted.items()
                )
                if is_wanted and _is_at_least(line, level) and _at(line) >= since:
                    yield line


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


def _objects(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


def _is_at_least(line: Line, level: str) -> bool:
    name = str(line.get("level"))
    return name in _LEVELS and _LEVELS.index(name) >= _LEVELS.index(level.upper())


def _at(line: Line) -> datetime:
    try:
        return datetime.fromisoformat(str(line.get("timestamp")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
