"""Rows kept aside without holding them all in memory: beyond a little they lie in a temp file."""

import json
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = TypeVar("Row", bound=DataclassInstance)
else:
    Row = TypeVar("Row")

_MEMORY_BYTES = 256 * 1024


class SpooledRows(Generic[Row]):
    """Appendable, countable, iterable any number of times; beyond 256 KB it lies in a temp file.

    A row is a dataclass of texts and numbers. The file is gone with the object, or by `close`.
    """

    def __init__(
        self, kind: type[Row], rows: Iterable[Row] = (), *, temp_folder: Path | None = None
    ) -> None:
        self._kind = kind
        self._spool = SpooledTemporaryFile(  # noqa: SIM115 (lives as long as this object)
            max_size=_MEMORY_BYTES, dir=str(temp_folder) if temp_folder else None
        )
        self.close = weakref.finalize(self, self._spool.close)
        self._count = 0
        self.extend(rows)

    def append(self, row: Row) -> None:
        """Keep one more row."""
        self.extend((row,))

    def extend(self, rows: Iterable[Row]) -> None:
        """Keep more rows."""
        self._spool.seek(0, 2)
        for row in rows:
            self._spool.write(json.dumps(asdict(row)).encode() + b"\n")
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in the order in which they were kept."""
        position = 0
        for _ in range(self._count):
            self._spool.seek(position)
            text = self._spool.readline()
            position = self._spool.tell()
            yield self._kind(**json.loads(text))
