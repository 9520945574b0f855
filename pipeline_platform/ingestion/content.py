"""The bytes of a delivered file, decompressed as they are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline_platform.ingestion.delivery_errors import (
    CorruptGzipError,
    CorruptZstdError,
    DeliveryError,
    EmptyFileError,
    TruncatedGzipError,
    TruncatedZstdError,
)

Compression = Literal["none", "gzip", "zstd"]
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TRUNCATED: dict[str, type[DeliveryError]] = {
    "gzip": TruncatedGzipError,
    "zstd": TruncatedZstdError,
}
_CORRUPT: dict[str, type[DeliveryError]] = {"gzip": CorruptGzipError, "zstd": CorruptZstdError}


class Content:
    """Decompressed bytes of one file."""

    def __init__(self, stream: pa.NativeFile, file_name: str, compression: Compression) -> None:
        self._stream = stream
        self._file_name = file_name
        self._compression = compression

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end.

        Raises TruncatedGzipError, CorruptGzipError or their like for zstd: nothing of the file
        counts then.
        """
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            if self._compression == "none":
                raise
            raise self._fault(str(error)) from None

    def _fault(self, said: str) -> DeliveryError:
        kind = self._compression
        if "Truncated" in said:
            return _TRUNCATED[kind](
                f"{self._file_name} is cut off: its {kind} stream has no end; ask for it again."
            )
        return _CORRUPT[kind](
            f"{self._file_name} is damaged: its {kind} stream can't be read ({said}); "
            "ask for it again."
        )


def compression_of(path: Path, file_name: str) -> Compression:
    """Tell from a file's first bytes how it is compressed; raise EmptyFileError without any."""
    with path.open("rb") as source:
        head = source.read(4)
    if not head:
        raise EmptyFileError(f"{file_name} is empty; ask for it to be delivered again.")
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "none")


@contextmanager
def open_content(path: Path, file_name: str, compression: Compression) -> Iterator[Content]:
    """Open a file for reading from its beginning; several streams in one file follow each other."""
    with pa.OSFile(str(path), "rb") as raw:
        if compression == "none":
            yield Content(raw, file_name, compression)
            return
        with pa.CompressedInputStream(raw, compression) as stream:
            yield Content(stream, file_name, compression)
