"""A Kinesis stream read in batches: shards, iterators, resharding and throttling.

Reads are shared-throughput GetRecords: five a second, 2 MB a second and shard. Throttling is
waited out within the batch's time; what was read until then is a batch.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from pipeline_platform.aws_sessions import aws_session
from pipeline_platform.failures import (
    InvalidSettingError,
    PermanentError,
    PlatformError,
    RefusedError,
    UnavailableError,
)
from pipeline_platform.settings import Settings
from pipeline_platform.streams.aggregation import user_records
from pipeline_platform.streams.reading import FINISHED, Batch, Limits, Positions, Record
from pipeline_platform.streams.shards import Shard, readable, remembered

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient

Start: TypeAlias = Literal["TRIM_HORIZON"] | datetime
RECORDS_PER_CALL = 10_000
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
    }
)
_EXPIRED = "ExpiredIteratorException"
_UNKNOWN_POSITION = "InvalidArgumentException"
_NO_STREAM = "ResourceNotFoundException"
_REFUSED = frozenset({_NO_STREAM, "AccessDeniedException", "UnrecognizedClientException"})

_log = logging.getLogger(__name__)


class ThrottledError(UnavailableError):
    """The stream asks to be read less often."""


class _ExpiredIteratorError(Exception):
    """An iterator was not used for five minutes; another one must be asked for."""


@dataclass
class _Reading:
    """One batch in the making: what was taken, where each shard is, and when to stop."""

    limits: Limits
    deadline: float
    positions: dict[str, str]
    records: list[Record] = field(default_factory=list)
    size_bytes: int = 0
    iterators: dict[str, str] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    is_full: bool = False

    def take(self, records: list[Record]) -> bool:
        """Add what one sequence number holds, or say that it does not fit; the first always does.

        What does not fit makes the batch full: a later record of its shard must not pass it.
        """
        size = self.size_bytes + sum(len(record.data) for record in records)
        count = len(self.records) + len(records)
        is_over = count > self.limits.max_records or size > self.limits.max_bytes
        if self.records and is_over:
            self.is_full = True
            return False
        self.records += records
        self.size_bytes = size
        self.is_full = count >= self.limits.max_records or size >= self.limits.max_bytes
        return True


class KinesisReader:
    """Reads one stream; `start` says where a shard begins that has no position yet.

    AT_TIMESTAMP is a datetime (UTC). There is no LATEST: where it begins depends on when a batch
    is tried, so a killed first batch would leave out what came meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        stream: str,
        *,
        start: Start = "TRIM_HORIZON",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._start = start
        self._clock = clock

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._stream

    @cached_property
    def _client(self) -> "KinesisClient":
        return aws_session(self._settings.s3_region).client(
            "kinesis",
            endpoint_url=self._settings.kinesis_endpoint,
            config=Config(
                retries={"total_max_attempts": 2, "mode": "standard"},
                connect_timeout=5,
                read_timeout=30,
            ),
        )

    def read_batch(self, positions: Positions, limits: Limits) -> Batch:
        """Read on after `positions`, in turn from every shard that may be read; see StreamReader.

        Raises PermanentError for a position that the stream never gave out.
        """
        shards = self._shards()
        by_name = {shard.name: shard for shard in shards}
        reading = _Reading(
            limits, time.monotonic() + limits.max_seconds, dict(remembered(shards, positions))
        )
        waiting = deque(readable(shards, reading.positions))
        seen = set(waiting)
        wait_seconds = FIRST_WAIT_SECONDS
        while waiting and not reading.is_full and time.monotonic() < reading.deadline:
            name = waiting.popleft()
            try:
                is_done = self._read_page(reading, by_name[name], 1 + len(waiting))
                wait_seconds = FIRST_WAIT_SECONDS
            except ThrottledError:
                if time.monotonic() + wait_seconds >= reading.deadline:
                    if reading.records:
                        break
                    raise
                time.sleep(wait_seconds * (500 + secrets.randbelow(500)) / 1000)
                wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
                is_done = False
            if not is_done:
                waiting.append(name)
            for child in readable(shards, reading.positions):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        behind = max(reading.behind.values(), default=0)
        return Batch(tuple(reading.records), reading.positions, behind, self._retention_hours)

    @cached_property
    def _retention_hours(self) -> int | None:
        """For how long the stream keeps a record; None if its description may not be read."""
        try:
            with self._failures("its description"):
                answer = self._client.describe_stream_summary(StreamName=self.stream)
        except PlatformError as error:
            _log.warning("How long the stream keeps records is not known: %s", error)
            return None
        return answer["StreamDescriptionSummary"]["RetentionPeriodHours"]

    def _read_page(self, reading: _Reading, shard: Shard, sharers: int) -> bool:
        """Take one page of a shard; True says that there is nothing more to read now."""
        room = max(1, (reading.limits.max_records - len(reading.records)) // sharers)
        answer = self._get_records(reading, shard.name, min(RECORDS_PER_CALL, room))
        behind = int(answer.get("MillisBehindLatest", 0))
        for given in answer["Records"]:
            arrived_at = given["ApproximateArrivalTimestamp"].astimezone(UTC)
            sequence = given["SequenceNumber"]
            records = [
                Record(shard.name, sequence, arrived_at, data)
                for data in user_records(given["Data"])
            ]
            if not reading.take(records):
                age_millis = (self._clock() - arrived_at) // timedelta(milliseconds=1)
                reading.behind[shard.name] = max(behind, age_millis)
                return True
            reading.positions[shard.name] = sequence
        reading.behind[shard.name] = behind
        following = answer.get("NextShardIterator")
        has_ended = shard.is_closed and not answer["Records"] and behind == 0
        if following is None or has_ended:
            reading.positions[shard.name] = FINISHED
            return True
        reading.iterators[shard.name] = following
        return behind == 0 and not (shard.is_closed and answer["Records"])

    def _get_records(self, reading: _Reading, shard: str, limit: int) -> Any:
        """Get a page, with another iterator if the one in hand has expired."""
        for _ in range(2):
            if shard not in reading.iterators:
                reading.iterators[shard] = self._iterator(shard, reading.positions.get(shard))
            try:
                with self._failures(f"shard {shard}"):
                    return self._client.get_records(
                        ShardIterator=reading.iterators[shard], Limit=limit
                    )
            except _ExpiredIteratorError:
                _log.info("The iterator of shard %s of %s had expired", shard, self.stream)
                del reading.iterators[shard]
        raise UnavailableError(
            f"The stream {self.stream} gives iterators of shard {shard} that have expired already; "
            "try again."
        )

    def _iterator(self, shard: str, position: str | None) -> str:
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if position is not None:
            where = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": position,
            }
        elif isinstance(self._start, datetime):
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": self._start}
        with self._failures(f"shard {shard} at {position or self._start}"):
            answer = self._client.get_shard_iterator(StreamName=self.stream, ShardId=shard, **where)
        return answer["ShardIterator"]

    def _shards(self) -> list[Shard]:
        """List every shard that the stream keeps, closed ones too."""
        shards: list[Shard] = []
        arguments: dict[str, Any] = {"StreamName": self.stream}
        while arguments:
            with self._failures("its shards"):
                answer = self._client.list_shards(**arguments)
            for given in answer["Shards"]:
                parents = (given.get("ParentShardId"), given.get("AdjacentParentShardId"))
                shards.append(
                    Shard(
                        given["ShardId"],
                        tuple(parent for parent in parents if parent),
                        "EndingSequenceNumber" in given["SequenceNumberRange"],
                    )
                )
            token = answer.get("NextToken")
            arguments = {"NextToken": token} if token else {}
        return shards

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Tell the client's errors as the platform's, with stream and shard."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code == _EXPIRED:
                raise _ExpiredIteratorError from None
            if code in _THROTTLED:
                raise ThrottledError(
                    f"The stream {self.stream} is read too often ({code} at {what}); the batch is "
                    "tried again. Add shards, or give each reader its own throughput."
                ) from None
            if code in _REFUSED:
                kind = InvalidSettingError if code == _NO_STREAM else RefusedError
                raise kind(
                    f"The stream {self.stream} can't be read ({code} at {what}); check its name, "
                    "PLATFORM_S3_REGION, and that the AWS credentials may list its shards and get "
                    "its records."
                ) from None
            if code == _UNKNOWN_POSITION:
                raise PermanentError(
                    f"The stream {self.stream} does not know {what}; it was made anew under its "
                    "old name. Give the new stream another name, so that positions don't mix."
                ) from None
            raise UnavailableError(
                f"The stream {self.stream} did not answer ({code} at {what}); try again."
            ) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise RefusedError(
                f"There are no AWS credentials to read the stream {self.stream} with; give the "
                "process a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from None
        except BotoCoreError as error:
            raise UnavailableError(
                f"The stream {self.stream} did not answer ({type(error).__name__} at {what}); "
                "try again."
            ) from None
