"""Which layer of the way to each service fails: database, lake, queue, collector (SA-55, SP-30).

Everything that the settings name is tried as the platform uses it, with the same addresses and
credentials. What is written is a small object beside the data, removed at once.
"""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from pipeline_platform.aws_sessions import aws_session
from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.lake import Lake
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.layers import (
    FailedLayerError,
    Layer,
    Step,
    attempted,
    connected,
)
from pipeline_platform.operations.collector import collector_steps
from pipeline_platform.operations.storage_rules import threats
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import database_url, reporting_url
from pipeline_platform.warehouse.diagnosis import diagnose

SECONDS = 5
_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=SECONDS, read_timeout=SECONDS)
_NO_CREDENTIALS = (
    "There are no AWS credentials, or only half of them; give variables, a profile or a role."
)
_BAD_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        "ExpiredToken",
        "ExpiredTokenException",
        "MissingAuthenticationToken",
        "AuthFailure",
    }
)


@dataclass(frozen=True)
class Examined:
    """One layer of the way to one service."""

    service: str
    layer: Layer


def examine(settings: Settings, pipelines: Sequence[str]) -> Iterator[Examined]:
    """Try the way to every service that the settings name, each until its first failing layer.

    The lake's catalogue is asked only if the database can be used: it lies beside it, or its
    address does.
    """
    is_fine = True
    for layer in _database(lambda: database_url(settings), "latency"):
        is_fine = layer.is_ok
        yield Examined("database", layer)
    if settings.reporting_database_url is not None:
        for layer in _database(lambda: reporting_url(settings), "read"):
            yield Examined("read replica", layer)
    places = {
        **{f"landing of {name}": f"{settings.raw_location}/{name}" for name in pipelines},
        "archive": settings.archive_location,
    }
    steps = {name: _object_steps(settings, location) for name, location in places.items()}
    steps["lake's files"] = _lake_steps(settings)
    for name, of_place in steps.items():
        for layer in attempted(of_place):
            yield Examined(name, layer)
    if is_fine:
        for layer in attempted([("read", lambda: _catalogue(settings))]):
            yield Examined("lake's catalogue", layer)
    locations = [*places.values(), settings.processed_location]
    for name, of_service in _aws_services(settings, locations).items():
        for layer in attempted(of_service):
            yield Examined(name, layer)
    for layer in attempted(collector_steps(os.environ, SECONDS)):
        yield Examined("OpenTelemetry collector", layer)


def _database(url_of: Callable[[], str], last: str) -> Iterator[Layer]:
    """Try a database up to a layer; where not even its address can be had, that one fails."""
    found: list[str] = []

    def settings() -> str:
        found.append(url_of())
        return "The settings say where it is; an embedded one was started."

    yield from attempted([("settings", settings)])
    for layer in diagnose(found[0], seconds=SECONDS) if found else ():
        yield layer
        if layer.name == last:
            return


def _catalogue(settings: Settings) -> str:
    lake = Lake.open(settings, database_url(settings))
    try:
        names = lake.namespaces()
    finally:
        lake.close()
    return f"The {settings.catalog} catalogue answers; it has {len(names)} namespaces."


def _aws_services(settings: Settings, places: Iterable[str]) -> dict[str, list[Step]]:
    """Return the layers to what the settings name beside places; first to who we are (SP-23).

    A store or stream at another address than AWS's own knows no identity.
    """
    found: dict[str, list[Step]] = {}
    queue, stream = settings.arrivals_queue_url, settings.events_stream
    if (
        (settings.s3_endpoint is None and any(one.startswith("s3://") for one in places))
        or (settings.kinesis_endpoint is None and stream is not None)
        or ".amazonaws.com" in (queue or "")
    ):
        found["AWS"] = [("identity", lambda: _identity(settings))]
    if queue is not None:
        found["arrivals queue"] = _queue_steps(settings, queue)
    if stream is not None:
        found["events stream"] = _stream_steps(settings, stream)
    return found


def _identity(settings: Settings) -> str:
    """Say as whom the platform speaks to AWS."""
    client = aws_session(settings.s3_region).client("sts", config=_CONFIG)
    try:
        return f"The platform is {client.get_caller_identity()['Arn']}."
    except (NoCredentialsError, PartialCredentialsError):
        raise FailedLayerError(_NO_CREDENTIALS) from None
    except (ClientError, BotoCoreError) as error:
        raise FailedLayerError(
            f"AWS does not say who we are ({type(error).__name__}); check the credentials and the "
            "way to STS."
        ) from None


def _object_steps(settings: Settings, location: str) -> list[Step]:
    """Return the layers to a folder, or to a prefix in S3."""
    try:
        store = ObjectStore.at(location, settings)
    except PlatformError as error:
        return [("address", _failing(str(error)))]
    key = f"doctor-{uuid.uuid4().hex}"

    def use() -> str:
        with _machine_failures(location):
            store.put(key, b"written by doctor")
            try:
                store.read(key)
            finally:
                store.delete(key)
        return f"Objects can be written to {store.location}, read and removed."

    if not location.startswith("s3://"):
        return [("use", use)]
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    asked = _aws_steps(
        "s3",
        settings.s3_endpoint,
        settings.s3_region,
        lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1),
        f"s3:ListBucket on {bucket}",
    )
    return [*asked, ("use", use)]


def _lake_steps(settings: Settings) -> list[Step]:
    steps = _object_steps(settings, settings.processed_location)
    if settings.processed_location.startswith("s3://"):
        steps.append(("lifecycle", lambda: _lifecycle(settings)))
    return steps


def _lifecycle(settings: Settings) -> str:
    """Refuse rules of the lake's bucket that could take a live snapshot's files away (B-13)."""
    bucket, _, prefix = settings.processed_location.removeprefix("s3://").partition("/")
    client = aws_session(settings.s3_region).client("s3", endpoint_url=settings.s3_endpoint)
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except (ClientError, BotoCoreError) as error:
        answer = error.response if isinstance(error, ClientError) else {}
        code = answer.get("Error", {}).get("Code", type(error).__name__)
        if code == "NoSuchLifecycleConfiguration":
            return f"The bucket {bucket} has no lifecycle rules."
        return (
            f"Not judged: the lifecycle rules of {bucket} can't be read ({code}); that needs "
            "s3:GetLifecycleConfiguration."
        )
    found = threats(rules, prefix)
    if found:
        raise FailedLayerError(
            f"In the lake's bucket {bucket} {found[0]}, and live snapshots name such files; end "
            f"the rule, or give it a prefix outside of {settings.processed_location}."
        )
    return f"None of {len(rules)} lifecycle rules touches {settings.processed_location}."


@contextmanager
def _machine_failures(location: str) -> Iterator[None]:
    """Turn what the file system says into one sentence."""
    try:
        yield
    except OSError as error:
        raise FailedLayerError(
            f"Nothing can be written to {location} ({error.strerror}); check that it is a folder, "
            "its owner and mode, and that the disk is not full."
        ) from None


def _queue_steps(settings: Settings, url: str) -> list[Step]:
    return _aws_steps(
        "sqs",
        f"{urlsplit(url).scheme}://{urlsplit(url).netloc}",
        settings.s3_region,
        lambda client: client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]),
        "sqs:GetQueueAttributes, ReceiveMessage, DeleteMessage and ChangeMessageVisibility",
    )


def _stream_steps(settings: Settings, stream: str) -> list[Step]:
    return _aws_steps(
        "kinesis",
        settings.kinesis_endpoint,
        settings.s3_region,
        lambda client: client.list_shards(StreamName=stream, MaxResults=1),
        f"kinesis:ListShards, GetShardIterator and GetRecords on {stream}",
    )


def _aws_steps(
    service: str,
    endpoint: str | None,
    region: str,
    ask: Callable[[Any], object],
    needed: str,
) -> list[Step]:
    """Return the layers to a service of AWS, or to one that speaks as it does."""
    client = aws_session(region).client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint,
        config=_CONFIG,
    )
    address = urlsplit(client.meta.endpoint_url)
    refused: list[str] = []

    def login() -> str:
        try:
            ask(client)
        except (NoCredentialsError, PartialCredentialsError):
            raise FailedLayerError(_NO_CREDENTIALS) from None
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _BAD_CREDENTIALS:
                raise FailedLayerError(
                    f"The AWS credentials are not accepted ({code}); check them and the clock."
                ) from None
            refused.append(code)
        except BotoCoreError as error:
            raise FailedLayerError(
                f"{address.hostname} does not answer as {service} does ({type(error).__name__})."
            ) from None
        return "The AWS credentials are accepted."

    def permission() -> str:
        if refused:
            raise FailedLayerError(
                f"{service} refuses ({refused[0]}); check the name in the settings and that the "
                f"role has {needed}."
            )
        return "The role may ask for it."

    return [*connected(address, SECONDS), ("login", login), ("permission", permission)]


def _failing(sentence: str) -> Callable[[], str]:
    def fail() -> str:
        raise FailedLayerError(sentence)

    return fail
