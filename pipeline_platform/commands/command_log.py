"""Each command as a line of the log: which one, how long it took and how it ended."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from pipeline_platform.commands.output import CRASHED
from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.logs import set_up, told
from pipeline_platform.settings import Settings

COMPONENT = "cli"
_log = logging.getLogger("pipeline_platform.cli")


@contextmanager
def logged_command(app: typer.Typer) -> Iterator[None]:
    """Set up the log and note how a command ends; its options, which may be secret, are not."""
    try:
        is_json = set_up(Settings.from_env(), COMPONENT)
    except InvalidSettingError:
        is_json = False  # the command itself says which setting is wrong
    if not is_json:
        yield
        return
    command, began, code = named(app, sys.argv[1:]), time.perf_counter(), 0
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except BaseException as error:
        code = CRASHED
        _log.exception("%s failed: %s", command, type(error).__name__)
        raise
    finally:
        _log.info(
            "%s ended with exit code %s",
            command,
            code,
            extra=told(
                operation=command,
                duration_ms=round((time.perf_counter() - began) * 1000, 1),
                status="error" if code else "success",
                exit_code=code,
            ),
        )


def named(app: typer.Typer, arguments: Sequence[str]) -> str:
    """Return the words of the arguments that name a command, such as `run show`."""
    found: list[str] = []
    at: Any = typer.main.get_command(app)
    for word in arguments:
        at = getattr(at, "commands", {}).get(word)
        if at is None:
            break
        found.append(word)
    return " ".join(found) or "help"
