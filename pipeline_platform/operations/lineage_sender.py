"""Sending one event of OpenLineage: to a service over HTTP, or to a file, a line each (XC-9).

Sending raises InvalidSettingError where the service refuses us or the file can't be written,
UnavailableError where nothing answers, RefusedEventError for an event that alone is not taken.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.operations.lineage_events import Event
from pipeline_platform.settings import Settings

Send: TypeAlias = Callable[[Event], None]
PATH = "/api/v1/lineage"
TIMEOUT_SECONDS = (4, 8)
NOT_CONFIGURED = (
    "Lineage is not configured: PLATFORM_LINEAGE_URL is not set, so nobody is told of any."
)
_REFUSES_US = {401, 403, 404, 405}
_ASKS_FOR_PATIENCE = {408, 425, 429}


class RefusedEventError(Exception):
    """The service takes events, but not this one."""


@contextmanager
def sender(settings: Settings) -> Iterator[Send]:
    """Give what sends one event to the place of PLATFORM_LINEAGE_URL."""
    address = settings.lineage_url
    if address is None:
        raise InvalidSettingError(f"{NOT_CONFIGURED} Set it to such as http://localhost:5000.")
    if address.startswith("file:"):
        yield _to_file(Path(unquote(urlsplit(address).path)))
        return
    import requests  # noqa: PLC0415 -- slow import, for this only

    with requests.Session() as session:
        key = settings.lineage_api_key
        if key is not None:
            session.headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        url = f"{address.rstrip('/')}{PATH}"

        def post(event: Event) -> None:
            try:
                status = session.post(url, json=event, timeout=TIMEOUT_SECONDS).status_code
            except requests.RequestException as error:
                raise UnavailableError(
                    f"The lineage service can't be reached ({type(error).__name__}); "
                    "what is new is told when it answers."
                ) from None
            _judge(status)

        yield post


def _judge(status: int) -> None:
    """Tell from the HTTP status who is at fault: us, the service, or one event."""
    if status in _REFUSES_US:
        raise InvalidSettingError(
            f"The lineage service answers {status}; check PLATFORM_LINEAGE_URL, to which {PATH} "
            "is added, and PLATFORM_LINEAGE_API_KEY."
        )
    if status in _ASKS_FOR_PATIENCE or status >= 500:
        raise UnavailableError(
            f"The lineage service answers {status}; what is new is told when it works again."
        )
    if status >= 300:
        raise RefusedEventError


def _to_file(path: Path) -> Send:
    def append(event: Event) -> None:
        try:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(f"{json.dumps(event, ensure_ascii=False)}\n")
        except OSError as error:
            raise InvalidSettingError(
                f"PLATFORM_LINEAGE_URL names {path}, which can't be written ({error.strerror}); "
                "name a file in a folder that there is."
            ) from None

    return append
