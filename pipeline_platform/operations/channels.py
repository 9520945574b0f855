"""Sending a message to one channel: Apprise, and beside it SNS and status pages.

Addresses come from settings or a secret only and are never shown: an error names the channel and
what the other side said. A message carries a key that is the same whenever it is sent again, and
the incident's, where the channel knows such a thing (PagerDuty, webhook, SNS, status page); e-mail
and Slack know none, so a message that was sent just before a crash may come twice there.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline_platform.failures import InvalidSettingError, PermanentError, UnavailableError
from pipeline_platform.runbook import Contact
from pipeline_platform.settings import Settings, addresses_by_channel
from pipeline_platform.warehouse.addresses import secret_text

TIMEOUT_SECONDS = (4, 8)
"""To connect and to read; a dead channel must not hold up the others."""
STATUS_PAGE_TITLE = "Pipeline Outage"
_SNS = re.compile(r"^arn:aws[\w-]*:sns:(?P<region>[\w-]+):\d+:(?P<topic>[\w.-]+)$")
_SNS_SUBJECT_LENGTH = 100
_STATUS_PAGE = ("statuspage", "statuspage+http")


@dataclass(frozen=True)
class Message:
    """What is sent; `incident_key` is the same for all messages of an incident, `key` for one."""

    key: str
    incident_key: str
    kind: str
    severity: str
    title: str
    body: str


def channel_addresses(settings: Settings) -> Mapping[str, SecretStr]:
    """Return the addresses of all channels that are configured, by name.

    What PLATFORM_CHANNELS names wins over the secret PLATFORM_CHANNELS_SECRET_NAME. Raises
    InvalidSettingError or UnavailableError when that can't be read.
    """
    if settings.channels_secret_name is None:
        return settings.channels
    setting = "PLATFORM_CHANNELS_SECRET_NAME"
    text = secret_text(settings.channels_secret_name, settings.s3_region, setting)
    try:
        found = addresses_by_channel(text)
    except ValueError as error:
        raise InvalidSettingError(f"The secret of {setting} is not usable: {error}.") from None
    return {**{name: SecretStr(one) for name, one in found.items()}, **settings.channels}


def recipient_of(address: SecretStr, contact: Contact) -> str:
    """Return to whom a contact's message goes on a channel; '' where the address says it all."""
    scheme = _scheme(address)
    if scheme in {"mailto", "mailtos"}:
        return contact.email
    return contact.slack if scheme == "slack" else ""


def send(channel: str, address: SecretStr, recipient: str, message: Message) -> None:
    """Send a message once.

    Raises UnavailableError if it was not taken, InvalidSettingError for an address that nothing
    can be sent to; neither repeats the address.
    """
    topic = _SNS.match(address.get_secret_value())
    if topic is not None:
        _send_to_topic(channel, address, topic, message)
    elif _scheme(address) in _STATUS_PAGE:
        _send_to_status_page(channel, address, message)
    else:
        _send_by_apprise(channel, address, recipient, message)


def _send_by_apprise(channel: str, address: SecretStr, recipient: str, message: Message) -> None:
    import apprise  # noqa: PLC0415 -- slow import, for this only
    from apprise.plugins import url_to_dict  # noqa: PLC0415

    with _captured_log("apprise") as said:
        parts = url_to_dict(address.get_secret_value()) or {}  # type: ignore[no-untyped-call]
        service = None
        with suppress(TypeError):
            service = apprise.Apprise.instantiate({**parts, **_extras(parts, recipient, message)})
        if service is None:
            raise InvalidSettingError(
                f"The address of the channel {channel!r} in PLATFORM_CHANNELS can't be used; see "
                ".env.example for its form."
            )
        is_page = parts.get("schema") == "pagerduty"
        is_sent = service.notify(
            title="" if is_page else message.title,
            body=message.title if is_page else message.body,
            notify_type=_notify_type(message),
            body_format="text",
        )
    if not is_sent:
        raise UnavailableError(f"The channel {channel!r} did not take the message{_status(said)}.")


def _extras(parts: Mapping[str, Any], recipient: str, message: Message) -> dict[str, Any]:
    """Return what a service is told beside the text: the recipient and the keys."""
    timeouts = {"cto": TIMEOUT_SECONDS[0], "rto": TIMEOUT_SECONDS[1]}
    keys = {"Idempotency-Key": message.key, "X-Incident-Key": message.incident_key}
    match parts.get("schema"):
        case "pagerduty":
            return {
                **timeouts,
                "dedup": message.incident_key,
                "action": "resolve" if message.kind == "resolved" else "trigger",
                "severity": message.severity,
                "source": message.incident_key,
                "details": {**parts.get("details", {}), "message": message.body},
            }
        case "json" | "jsons":
            payload = {
                "key": message.key,
                "incident_key": message.incident_key,
                "kind": message.kind,
                "severity": message.severity,
            }
            headers = {**parts.get("headers", {}), **keys}
            return {**timeouts, "headers": headers, "payload": {**parts["payload"], **payload}}
        case "mailto" | "mailtos":
            targets = [recipient] if recipient else parts.get("targets")
            return {**timeouts, "targets": targets, "headers": {**parts["headers"], **keys}}
        case "slack":
            return {**timeouts, "targets": parts.get("targets") or [recipient]}
    return timeouts


def _notify_type(message: Message) -> str:
    if message.kind == "resolved":
        return "success"
    return {"critical": "failure", "warning": "warning"}.get(message.severity, "info")


def _send_to_topic(
    channel: str, address: SecretStr, topic: re.Match[str], message: Message
) -> None:
    """Publish to an SNS topic; one whose name ends in .fifo drops what has the same key."""
    import boto3  # noqa: PLC0415 -- slow import, for this only
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    connect, read = TIMEOUT_SECONDS
    config = Config(connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": 1})
    fifo = {"MessageGroupId": message.incident_key, "MessageDeduplicationId": message.key}
    attributes = {
        "key": message.key,
        "incident_key": message.incident_key,
        "kind": message.kind,
        "severity": message.severity,
    }
    try:
        boto3.client("sns", region_name=topic["region"], config=config).publish(
            TopicArn=address.get_secret_value(),
            Subject=_ascii(message.title)[:_SNS_SUBJECT_LENGTH],
            Message=message.body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
            **(fifo if topic["topic"].endswith(".fifo") else {}),
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise UnavailableError(f"The channel {channel!r} refused the message ({code}).") from None
    except BotoCoreError as error:
        raise UnavailableError(
            f"The channel {channel!r} can't be reached ({type(error).__name__})."
        ) from None


def _send_to_status_page(channel: str, address: SecretStr, message: Message) -> None:
    """Open, update or resolve the incident on a status page (SP-59).

    The page is asked first whether it shows the incident already, so that one is opened only once.
    Only the outage and its end are told there; why and whose it is is nobody else's business.
    """
    import requests  # noqa: PLC0415 -- slow import, for this only

    parts = urlsplit(address.get_secret_value())
    scheme = "http" if parts.scheme.endswith("http") else "https"
    port = f":{parts.port}" if parts.port else ""
    page = f"{scheme}://{parts.hostname}{port}/v1/pages/{parts.path.strip('/')}"
    is_resolved = message.kind == "resolved"
    words = (
        ("resolved", "It works again.")
        if is_resolved
        else ("investigating", "We are looking at it.")
    )
    incident: dict[str, Any] = {
        "name": STATUS_PAGE_TITLE,
        "status": words[0],
        "body": words[1],
        "metadata": {"pipeline_platform": {"incident_key": message.incident_key}},
    }
    with requests.Session() as session:
        session.headers["Authorization"] = f"OAuth {parts.username}"
        try:
            shown = session.get(f"{page}/incidents/unresolved", timeout=TIMEOUT_SECONDS)
            shown.raise_for_status()
            number = next(
                (one["id"] for one in shown.json() if _is_about(one, message.incident_key)), None
            )
            if number is None and is_resolved:
                return
            method, url = (
                ("POST", f"{page}/incidents")
                if number is None
                else ("PATCH", f"{page}/incidents/{number}")
            )
            answer = session.request(
                method, url, json={"incident": incident}, timeout=TIMEOUT_SECONDS
            )
            answer.raise_for_status()
        except requests.HTTPError as error:
            code = "unknown" if error.response is None else error.response.status_code
            raise UnavailableError(
                f"The channel {channel!r} did not take the message (HTTP status {code})."
            ) from None
        except (requests.RequestException, ValueError, TypeError, KeyError) as error:
            raise UnavailableError(
                f"The channel {channel!r} can't be reached ({type(error).__name__})."
            ) from None


def _is_about(shown: Mapping[str, Any], incident_key: str) -> bool:
    ours = (shown.get("metadata") or {}).get("pipeline_platform") or {}
    return bool(ours.get("incident_key") == incident_key)


def _scheme(address: SecretStr) -> str:
    return address.get_secret_value().partition("://")[0].lower()


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")


def _status(said: list[str]) -> str:
    """Return the HTTP status that a log tells; nothing else of it, for it names hosts."""
    codes = [code for line in said for code in re.findall(r"error=(\d{3})\b", line)]
    return f" (HTTP status {codes[-1]})" if codes else ""


@contextmanager
def _captured_log(name: str) -> Iterator[list[str]]:
    """Keep a library's log from every log of ours: it names hosts and users."""
    logger, lines = logging.getLogger(name), list[str]()

    class _Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, propagate, level = _Keep(logging.WARNING), logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate, logger.level = propagate, level


def problem_of(error: Exception) -> str:
    """Return what may be said of a failed attempt: our own sentences, else only the kind."""
    if isinstance(error, PermanentError | UnavailableError):
        return str(error)
    return f"The message was not sent ({type(error).__name__})."
