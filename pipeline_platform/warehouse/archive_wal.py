"""Keep a piece of PostgreSQL's write-ahead log outside of the server, or fetch one back.

    python -I archive_wal.py store LOCATION NAME PATH [REGION [ENDPOINT]]
    python -I archive_wal.py fetch LOCATION NAME PATH [REGION [ENDPOINT]]

PostgreSQL itself starts it, as `archive_command` and `restore_command`, so for a folder it needs
the standard library only and takes milliseconds. LOCATION is a folder or an `s3://` address.

A piece is compressed: one that was ended by time is mostly zeros. It appears whole or not at all.
Exit codes are PostgreSQL's: 0 done; 1 not done, tried again (`store`), or not there (`fetch`); 255
ends a recovery, which must not take an archive that can't be read for the end of the log.
"""

import gzip
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_platform.landing.objects import ObjectStore

NOT_DONE = 1
UNREADABLE = 255
_FASTEST = 1


def store(location: str, name: str, path: Path, *where: str) -> int:
    """Keep a piece; the same one again changes nothing, another one of its name is refused."""
    content = path.read_bytes()
    packed = gzip.compress(content, _FASTEST, mtime=0)
    if "://" in location:
        kept = _from_store(location, name, *where)
        if kept is None:
            with _store_at(location, *where) as archive:
                archive.put(f"{name}.gz", packed)
        return _verdict(kept, content, name)
    folder = Path(location)
    target = folder / f"{name}.gz"
    if target.exists():
        return _verdict(gzip.decompress(target.read_bytes()), content, name)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    with partial.open("wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    _force_folder(folder)
    return 0


def fetch(location: str, name: str, path: Path, *where: str) -> int:
    """Write a kept piece to a path."""
    if "://" in location:
        content = _from_store(location, name, *where)
    else:
        kept = Path(location) / f"{name}.gz"
        content = gzip.decompress(kept.read_bytes()) if kept.exists() else None
    if content is None:
        return NOT_DONE
    path.write_bytes(content)
    return 0


def _verdict(kept: bytes | None, content: bytes, name: str) -> int:
    if kept is None or kept == content:
        return 0
    print(f"The archive has another {name} already; it is left as it is.", file=sys.stderr)
    return NOT_DONE


def _from_store(location: str, name: str, *where: str) -> bytes | None:
    from pipeline_platform.failures import NotFoundError  # noqa: PLC0415 - only for S3

    try:
        with _store_at(location, *where) as archive:
            return gzip.decompress(archive.read(f"{name}.gz"))
    except NotFoundError:
        return None


@contextmanager
def _store_at(
    location: str, region: str = "us-east-1", endpoint: str | None = None
) -> "Iterator[ObjectStore]":
    """Open the store with a home of its own: a shared one would be another user's."""
    import tempfile  # noqa: PLC0415 - only for S3

    from pipeline_platform.landing.objects import ObjectStore  # noqa: PLC0415
    from pipeline_platform.settings import Settings  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="pipeline-platform-wal-") as home:
        settings = Settings(home=Path(home), s3_region=region, s3_endpoint=endpoint or None)
        yield ObjectStore.at(location, settings)


def _force_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Do what the arguments say; a failure is one line on stderr, which the server's log keeps."""
    what, location, name, path, *where = sys.argv[1:]
    try:
        return (store if what == "store" else fetch)(location, name, Path(path), *where)
    except Exception as error:
        print(f"{what} of {name}: {type(error).__name__}: {error}", file=sys.stderr)
        return NOT_DONE if what == "store" else UNREADABLE


if __name__ == "__main__":
    sys.exit(main())
