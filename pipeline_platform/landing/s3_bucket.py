"""Objects in an S3 bucket, below a prefix, by the clients that suit each task.

obstore reads and writes content. boto3 does what obstore can't: it lists and removes keys exactly
as they are stored (one key with `..` or a control character makes obstore's whole listing fail,
and `a/` is shown as `a`), it removes an object only if it is still the one that was read, and it
copies between buckets. Credentials come from the usual AWS_* environment or profile.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import boto3
import obstore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from pipeline_platform.aws_sessions import aws_session
from pipeline_platform.failures import (
    InvalidSettingError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from pipeline_platform.landing.keys import printable, unsafe_reason
from pipeline_platform.landing.stored_object import (
    CHUNK_BYTES,
    ArchivedObjectError,
    Backend,
    ObjectChangedError,
    StoredObject,
    Taken,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore import GetOptions

ARRIVED_AT = "arrived-at"
"""Metadata that carries the time of arrival from folder to folder; S3 dates each copy anew."""

MAX_COPY_BYTES = 5 * 1024**3
"""S3 copies no larger object in one request; such a one is read and written instead."""

_PART_BYTES = 8 * 1024**2
_MAX_PARTS = 9_000
_CONCURRENT_PARTS = 4
_ABSENT = {"404", "NoSuchKey"}
_CHANGED = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_ARCHIVED = {"InvalidObjectState", "ObjectNotInActiveTierError"}
_ARCHIVE_CLASSES = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes of which a read is refused; GLACIER_IR and all others are read at once."""
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_NO_BUCKET = "NoSuchBucket"


class S3Bucket:
    """A `Backend` over `bucket/prefix`; content passes through `spool`, a local folder."""

    def __init__(
        self, bucket: str, prefix: str, *, endpoint: str | None, region: str, spool: Path
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.location = f"s3://{bucket}/{prefix}".rstrip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._region = region
        self._spool = spool

    @cached_property
    def _session(self) -> boto3.session.Session:
        return aws_session(self._region)

    @cached_property
    def client(self) -> "S3Client":
        """The boto3 client, made on first use."""
        return self._session.client(
            "s3",
            endpoint_url=self._endpoint,
            config=Config(
                retries={"max_attempts": 3, "mode": "standard"},
                connect_timeout=5,
                read_timeout=60,
                s3={"addressing_style": "path" if self._endpoint else "auto"},
            ),
        )

    @cached_property
    def _content(self) -> S3Store:
        try:
            credentials = Boto3CredentialProvider(self._session)
        except ValueError:
            raise InvalidSettingError(
                f"There are no AWS credentials for {self.location}; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run under a role."
            ) from None
        is_plain = self._endpoint is not None and self._endpoint.startswith("http://")
        return S3Store(
            self.bucket,
            region=self._region,
            credential_provider=credentials,
            client_options={"allow_http": is_plain, "connect_timeout": "5s", "timeout": "300s"},
            retry_config={"max_retries": 3},
            config={} if self._endpoint is None else {"endpoint": self._endpoint},
        )

    def keeps_versions(self) -> bool:
        """Ask S3 whether versioning is on; without the permission to ask it counts as off."""
        try:
            with self._failures(""):
                found = self.client.get_bucket_versioning(Bucket=self.bucket)
        except InvalidSettingError:
            return False
        return found.get("Status") == "Enabled"

    def bring_back(self, key: str, sha256: str) -> bool:
        """Remove the delete markers of an object whose last version has this content."""
        bucket, place = self.bucket, self._root + key
        with self._failures(key):
            versions, markers = self._history(place)
            if not versions or not markers or versions[0]["IsLatest"]:
                return False
            last = versions[0]
            content = self.client.get_object(Bucket=bucket, Key=place, VersionId=last["VersionId"])[
                "Body"
            ]
            digest = hashlib.sha256()
            for chunk in content.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                return False
            for marker in markers:
                if marker["LastModified"] >= last["LastModified"]:
                    self.client.delete_object(
                        Bucket=bucket, Key=place, VersionId=marker["VersionId"]
                    )
        return True

    def _history(self, place: str) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the versions of one object and its delete markers, the newest first."""
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=place
        )
        versions: list[Any] = []
        markers: list[Any] = []
        for page in pages:
            versions += [one for one in page.get("Versions", []) if one["Key"] == place]
            markers += [one for one in page.get("DeleteMarkers", []) if one["Key"] == place]
        return versions, markers

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a prefix in the order of their keys; no folder markers."""
        start = f"{self._root}{prefix.strip('/')}/" if prefix.strip("/") else self._root
        with self._failures(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=start
            )
            for page in pages:
                for found in page.get("Contents", []):
                    if found["Size"] == 0 and found["Key"].endswith("/"):
                        continue
                    yield StoredObject(
                        key=found["Key"].removeprefix(self._root),
                        size_bytes=found["Size"],
                        modified_at=found["LastModified"],
                        etag=found["ETag"].strip('"'),
                        placed_at=found["LastModified"],
                    )

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield nothing: a killed claim leaves its object in `incoming/`, or both copies."""
        yield from ()

    def tidy(self) -> None:
        """Leave it to a lifecycle rule of the bucket to drop uploads that were never ended."""

    def head(self, key: str) -> StoredObject:
        """Describe one object; raise NotFoundError."""
        with self._failures(key):
            found = self.client.head_object(Bucket=self.bucket, Key=self._root + key)
        return StoredObject(
            key=key,
            size_bytes=found["ContentLength"],
            modified_at=found["LastModified"],
            etag=found["ETag"].strip('"'),
            placed_at=found["LastModified"],
        )

    def arrived_at(self, key: str) -> datetime:
        """Return the time of arrival that the object carries, or when it was last written."""
        with self._failures(key):
            found = self.client.head_object(Bucket=self.bucket, Key=self._root + key)
        carried = found.get("Metadata", {}).get(ARRIVED_AT)
        return found["LastModified"] if carried is None else datetime.fromisoformat(carried)

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield the content of one version, whatever is written meanwhile."""
        yield from self._stream(key, None)

    def write(self, key: str, chunks: Iterable[bytes], arrived_at: datetime | None = None) -> None:
        """Spool the content, then send it; nothing appears if `chunks` fails."""
        with self._spooled(chunks) as path:
            self._send(path, key, arrived_at)

    def local_path(self, key: str) -> None:
        """Return nothing: what lies here must be downloaded to be a file."""

    def copy_from(
        self,
        source: Backend,
        source_key: str,
        key: str,
        *,
        is_move: bool = False,  # noqa: ARG002
    ) -> bool:
        """Let S3 copy within or between buckets, metadata too; False if it can't."""
        if not isinstance(source, S3Bucket) or source._endpoint != self._endpoint:
            return False
        size = source.head(source_key).size_bytes
        if size > MAX_COPY_BYTES:
            return False
        with source._failures(source_key):
            self.client.copy_object(
                Bucket=self.bucket,
                Key=self._root + key,
                CopySource={"Bucket": source.bucket, "Key": source._root + source_key},
            )
        if self.head(key).size_bytes != size:
            raise UnavailableError(
                f"The copy of {printable(source_key)} to {self.location} is not complete; "
                "try again."
            )
        return True

    def take(self, key: str, destination: Callable[[str], str]) -> Taken:
        """Spool and hash one version, store it, remove it where it was if it still is that one.

        Of several who try, the conditional removal lets one win; S3 itself and Ceph honour it.
        Killed before the removal, the object is still where it was and is taken again.
        """
        found = self.head(key)
        digest = hashlib.sha256()
        with self._spooled(_hashed(self._stream(key, found.etag), digest.update)) as path:
            target = destination(digest.hexdigest())
            if self.head(key).etag != found.etag:
                raise self._changed(key)
            self._send(path, target, found.modified_at)
        with self._failures(key):
            self.client.delete_object(
                Bucket=self.bucket, Key=self._root + key, IfMatch=f'"{found.etag}"'
            )
        return Taken(target, digest.hexdigest(), found.size_bytes, found.modified_at)

    def describe(self, key: str) -> str | None:  # noqa: ARG002
        """Return None: a bucket holds nothing but plain objects."""
        return None

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._failures(key):
            self.client.delete_object(Bucket=self.bucket, Key=self._root + key)

    def remove_empty_folders(self, key: str) -> None:
        """Do nothing: a bucket has no folders."""

    def _stream(self, key: str, etag: str | None) -> Iterator[bytes]:
        """Yield the content of the version `etag`; raise ObjectChangedError if it is another."""
        wanted = "*" if etag is None else f'"{etag}"'
        with self._failures(key):
            if unsafe_reason(key) is None:
                options: GetOptions = {} if etag is None else {"if_match": wanted}
                found = obstore.get(self._content, self._root + key, options=options)
                for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                    yield bytes(chunk)
            else:
                answer = self.client.get_object(
                    Bucket=self.bucket, Key=self._root + key, IfMatch=wanted
                )
                yield from answer["Body"].iter_chunks(CHUNK_BYTES)

    @contextmanager
    def _spooled(self, chunks: Iterable[bytes]) -> Iterator[Path]:
        """Write content to a temporary local file and hand it out; memory stays bounded."""
        self._spool.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="s3-", dir=self._spool) as folder:
            path = Path(folder) / "content"
            with path.open("wb") as file:
                file.writelines(chunks)
            yield path

    def _send(self, path: Path, key: str, arrived_at: datetime | None) -> None:
        part_bytes = max(_PART_BYTES, path.stat().st_size // _MAX_PARTS + 1)
        with self._failures(key):
            obstore.put(
                self._content,
                self._root + key,
                path,
                attributes={} if arrived_at is None else {ARRIVED_AT: arrived_at.isoformat()},
                chunk_size=part_bytes,
                max_concurrency=_CONCURRENT_PARTS,
            )

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(
            f"{printable(key)} in {self.location} changed while it was read; its newest version "
            "stays where it is and can be claimed."
        )

    @contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        """Tell both clients' errors as the platform's, with key and location, never a secret."""
        try:
            yield
        except ClientError as error:
            raise self._failure(key, str(error.response.get("Error", {}).get("Code"))) from None
        except FileNotFoundError:
            raise self._failure(key, "404") from None
        except PreconditionError:
            raise self._failure(key, "412") from None
        except (PermissionDeniedError, UnauthenticatedError, NoCredentialsError):
            raise self._failure(key, "403") from None
        except (BaseError, BotoCoreError) as error:
            raise self._failure(key, type(error).__name__) from None

    def _failure(self, key: str, code: str) -> Exception:
        where = f"{printable(key)} in {self.location}"
        if code in _ABSENT:
            return NotFoundError(
                f"{where} does not exist; it may have been claimed or moved by another run."
            )
        if code in _CHANGED:
            return self._changed(key)
        archived = self._archived(key) if code in _ARCHIVED | _REFUSED else None
        if archived:
            return ArchivedObjectError(
                f"{where} lies in the storage class {archived}, which can't be read at once; have "
                "it restored (`aws s3api restore-object`, hours), or copy it back to STANDARD, "
                "then try again. No lifecycle rule may archive what the platform still reads."
            )
        if code in _REFUSED or code == _NO_BUCKET:
            kind = InvalidSettingError if code == _NO_BUCKET else RefusedError
            return kind(
                f"{self.location} can't be used ({code}); check that the bucket exists and that "
                "the AWS credentials may list, read, write and delete there."
            )
        return UnavailableError(f"{where} can't be reached now ({code}); try again.")

    def _archived(self, key: str) -> str | None:
        """Return the class that keeps an object from being read; None if it is none, or unknown."""
        try:
            found: dict[str, Any] = dict(
                self.client.head_object(Bucket=self.bucket, Key=self._root + key)
            )
        except (ClientError, BotoCoreError):
            return None
        if found.get("ArchiveStatus"):
            return f"INTELLIGENT_TIERING, {found['ArchiveStatus']}"
        name = found.get("StorageClass", "STANDARD")
        return name if name in _ARCHIVE_CLASSES else None


def _hashed(chunks: Iterable[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk
