"""A file that is kept in an object store under its checksum: put there, fetched, verified."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.landing.objects import ObjectStore


class KeptFile(BaseModel):
    """Where a file lies in its store, and what it must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

    @classmethod
    def put(
        cls, store: ObjectStore, key: str, data: bytes | Path, *, sha256: str | None = None
    ) -> "KeptFile":
        """Copy bytes or a local file into a store; who knows the `sha256` spares reading it."""
        digest = sha256 or cls.digest(data)
        store.put(key, data)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        return cls(key=key, sha256=digest, size_bytes=size)

    @staticmethod
    def digest(data: bytes | Path) -> str:
        """Return the SHA-256 of bytes or of a local file, in hexadecimal."""
        if isinstance(data, bytes):
            return hashlib.sha256(data).hexdigest()
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def fetch(self, store: ObjectStore, path: Path) -> None:
        """Copy the file to a local path; PermanentError if it is not what it was."""
        try:
            self._require(store, store.download(self.key, path))
        except NotFoundError:
            raise self._damaged(store, "missing") from None

    def read(self, store: ObjectStore) -> bytes:
        """Return the content of a small file; PermanentError if it is not what it was."""
        try:
            content = store.read(self.key)
        except NotFoundError:
            raise self._damaged(store, "missing") from None
        self._require(store, hashlib.sha256(content).hexdigest())
        return content

    def verify(self, store: ObjectStore) -> None:
        """Read the whole file; PermanentError if it is not what it was."""
        try:
            self._require(store, store.sha256(self.key))
        except NotFoundError:
            raise self._damaged(store, "missing") from None

    def _require(self, store: ObjectStore, found: str) -> None:
        if found != self.sha256:
            raise self._damaged(store, found)

    def _damaged(self, store: ObjectStore, found: str) -> PermanentError:
        return PermanentError(
            f"The file {store.location}/{self.key} is damaged (its SHA-256 is {found}, not "
            f"{self.sha256}); use another backup."
        )
