"""S3's notices of new objects, from an SQS queue; acknowledged only once their run is recorded.

A poll hands out keys and a cursor that names the notices. The caller records its run requests
and the cursor together; the next poll, given that cursor, acknowledges first. Killed in between,
the notices come again, and an object that was claimed meanwhile is simply no longer there.
Notices can be lost (a queue set up late, its retention passed), so list the folder at times too.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipeline_platform.aws_sessions import aws_session
from pipeline_platform.failures import InvalidSettingError, RefusedError, UnavailableError
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

_PER_REQUEST = 10
"""SQS gives and takes at most ten messages at a time."""


@dataclass(frozen=True)
class Poll:
    """What one poll brought: keys relative to `incoming/`, in order, each once; the next cursor."""

    keys: tuple[str, ...]
    cursor: str
    unreadable_count: int


@dataclass(frozen=True)
class _Read:
    """A message's keys below the raw location, and whether it could be read."""

    keys: tuple[str, ...]
    is_readable: bool = True


class ArrivalNotifications:
    """The queue that the raw bucket notifies, seen by one pipeline.

    Several pipelines may share it: a notice of another's folder is given back at once. Test
    events, removals and objects outside all `incoming/` folders are acknowledged and ignored. A
    message that can't be read is left to the queue's redrive policy and counted.
    """

    def __init__(self, settings: Settings, pipeline: str) -> None:
        if settings.arrivals_queue_url is None or not settings.raw_location.startswith("s3://"):
            raise InvalidSettingError(
                "Notifications need PLATFORM_ARRIVALS_QUEUE_URL and a PLATFORM_RAW_LOCATION in "
                "S3; without them the folder is listed."
            )
        self._url = settings.arrivals_queue_url
        self._region = settings.s3_region
        address = settings.raw_location.removeprefix("s3://").rstrip("/")
        self._bucket, _, prefix = address.partition("/")
        self._raw_prefix = f"{prefix}/" if prefix else ""
        self._incoming_prefix = f"{self._raw_prefix}{pipeline}/incoming/"

    @cached_property
    def _client(self) -> "SQSClient":
        address = urlsplit(self._url)
        return aws_session(self._region).client(
            "sqs",
            endpoint_url=f"{address.scheme}://{address.netloc}",
            config=Config(
                retries={"max_attempts": 3, "mode": "standard"}, connect_timeout=5, read_timeout=30
            ),
        )

    def poll(self, cursor: str | None, *, max_messages: int = 500, wait_seconds: int = 1) -> Poll:
        """Acknowledge what the last poll handed out, then receive up to `max_messages` notices.

        `wait_seconds` above 0 asks all of SQS's servers, not a sample. The queue's visibility
        timeout must be longer than the time between two polls. Raises
        UnavailableError.
        """
        self._acknowledge(_receipts(cursor))
        keys: dict[str, None] = {}
        receipts: list[str] = []
        others: list[str] = []
        unreadable = 0
        seen: set[str] = set()
        while len(seen) < max_messages:
            messages = self._receive(min(_PER_REQUEST, max_messages - len(seen)), wait_seconds)
            new = [message for message in messages if message["MessageId"] not in seen]
            if not new:
                break
            for message in new:
                seen.add(message["MessageId"])
                read = self._read(message["Body"])
                mine = [key for key in read.keys if key.startswith(self._incoming_prefix)]
                keys.update((key.removeprefix(self._incoming_prefix), None) for key in mine)
                if not read.is_readable:
                    unreadable += 1
                elif len(mine) < len(read.keys):
                    others.append(message["ReceiptHandle"])
                else:
                    receipts.append(message["ReceiptHandle"])
        for receipt in others:
            self._give_back(receipt)
        return Poll(tuple(keys), json.dumps({"receipts": receipts}), unreadable)

    def _receive(self, count: int, wait_seconds: int) -> Sequence[Any]:
        with self._failures():
            answer = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=count, WaitTimeSeconds=wait_seconds
            )
        return answer.get("Messages", [])

    def _acknowledge(self, receipts: Sequence[str]) -> None:
        """Delete messages; one that was given anew meanwhile will come again, which is harmless."""
        for start in range(0, len(receipts), _PER_REQUEST):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[start : start + _PER_REQUEST])
            ]
            with self._failures():
                self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]

    def _give_back(self, receipt: str) -> None:
        with self._failures():
            self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=0
            )

    def _read(self, body: str) -> _Read:
        """Return the created objects' keys in any pipeline's `incoming/` folder."""
        try:
            found = [
                key
                for bucket, key in _created(json.loads(body))
                if bucket == self._bucket and self._is_arrival(key)
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return _Read((), is_readable=False)
        return _Read(tuple(found))

    def _is_arrival(self, key: str) -> bool:
        if not key.startswith(self._raw_prefix):
            return False
        parts = key.removeprefix(self._raw_prefix).split("/", 2)
        return len(parts) == 3 and parts[1] == "incoming" and not key.endswith("/")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if "NonExistentQueue" in code or "AccessDenied" in code:
                kind = RefusedError if "AccessDenied" in code else InvalidSettingError
                raise kind(
                    f"The queue of PLATFORM_ARRIVALS_QUEUE_URL can't be used ({code}); check its "
                    "address and that the AWS credentials may receive and delete messages."
                ) from None
            raise UnavailableError(f"The arrivals queue did not answer ({code}).") from None
        except BotoCoreError as error:
            raise UnavailableError(
                f"The arrivals queue did not answer ({type(error).__name__}); try again."
            ) from None


def _created(event: Any) -> list[tuple[str, str]]:
    """Return (bucket, key) of created objects from S3's event, also through SNS or EventBridge.

    S3 writes keys as in a URL's query (`+` for a space); EventBridge writes them as they are.
    """
    if event.get("Type") == "Notification":
        return _created(json.loads(event["Message"]))
    if event.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in event:
        if event["detail-type"] != "Object Created":
            return []
        return [(event["detail"]["bucket"]["name"], event["detail"]["object"]["key"])]
    return [
        (record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
        for record in event["Records"]
        if record["eventName"].removeprefix("s3:").startswith("ObjectCreated:")
    ]


def _receipts(cursor: str | None) -> list[str]:
    try:
        return [str(receipt) for receipt in json.loads(cursor or "{}").get("receipts", [])]
    except (ValueError, AttributeError):
        return []
