"""A vendor's file as bronze rows: streamed, as text, with every line accounted for.

One record of the file is one bronze row or one rejected line, never both (B-8).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Self

import pyarrow as pa

from pipeline_platform.advisory_performance.bronze_rows import BronzeRows, months_of
from pipeline_platform.advisory_performance.delivery_chunks import Chunk
from pipeline_platform.advisory_performance.delivery_delimited import DelimitedReader
from pipeline_platform.advisory_performance.delivery_fixed_width import FixedWidthReader
from pipeline_platform.advisory_performance.delivery_json import JsonLinesReader
from pipeline_platform.advisory_performance.delivery_lines import LINE_LIMIT_BYTES, read_blocks
from pipeline_platform.advisory_performance.vendor_formats import Delimited, FixedWidth
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.ingestion.delivery_errors import (
    HeaderOnlyError,
    WrongEncodingError,
)
from pipeline_platform.ingestion.rejected_lines import RejectedLine, RejectedLines


@dataclass(frozen=True)
class LineCounts:
    """Records of one month ('' = no valid month): arrived = published + quarantined."""

    arrived: int
    published: int
    quarantined: int


class Delivery:
    """One file on its way to bronze; read once, by iterating over it or by `batches()`.

    After the last batch `rejected`, `counts`, `arrived` and `arrived_by_month` are complete. A
    DeliveryError may come with the first batch or with the last one (trailer, end of a gzip
    stream); the caller then discards what it staged. `failure` keeps that error for callers whose
    engine hides the exception of an iterator.
    """

    def __init__(
        self,
        path: Path,
        file_name: str,
        mapping: VendorMapping,
        *,
        today: date,
        received_at: datetime,
        file_sha256: str,
        max_line_bytes: int = LINE_LIMIT_BYTES,
        temp_folder: Path | None = None,
    ) -> None:
        self.file_name = file_name
        self.mapping = mapping
        self.vendor = mapping.vendor
        self.rejected = RejectedLines(temp_folder)
        self.failure: Exception | None = None
        self._path = path
        self._rows = BronzeRows(mapping, file_name, file_sha256, received_at, today)
        self._max_line_bytes = max_line_bytes
        self._published: Counter[str] = Counter()
        self._quarantined: Counter[str] = Counter()
        self._undecodable = 0

    @property
    def arrived(self) -> int:
        """How many records the file holds, rejected ones included."""
        return self._published.total() + self._quarantined.total()

    @property
    def arrived_by_month(self) -> dict[str, int]:
        """How many records went to bronze, by month 'YYYY-MM-01'."""
        return dict(sorted(self._published.items()))

    @property
    def counts(self) -> dict[str, LineCounts]:
        """Records by month; a rejected record counts for the month of its day if that is valid."""
        return {
            month: LineCounts(
                arrived=self._published[month] + self._quarantined[month],
                published=self._published[month],
                quarantined=self._quarantined[month],
            )
            for month in sorted({*self._published, *self._quarantined})
        }

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.batches()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 50,000 rows with the schema of `VENDOR_ROWS`.

        Raises the subclasses of DeliveryError; their `rule` names the fault.
        """
        try:
            for chunk in self._chunks():
                for line in chunk.rejected:
                    self._reject(line)
                if not chunk.records:
                    continue
                batch, rejected = self._rows.batch(chunk)
                for line in rejected:
                    self._reject(line)
                self._published.update(months_of(batch))
                if batch.num_rows:
                    yield batch
            self._check_records()
        except Exception as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Remove the temp file of the rejected lines."""
        self.rejected.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chunks(self) -> Iterator[Chunk]:
        layout = self.mapping.format
        blocks = read_blocks(self._path, self.file_name, layout, self._max_line_bytes)
        if isinstance(layout, Delimited):
            return DelimitedReader(self.mapping, layout, self.file_name).chunks(blocks)
        if isinstance(layout, FixedWidth):
            return FixedWidthReader(self.mapping, layout, self.file_name).chunks(blocks)
        return JsonLinesReader(self.mapping, self.file_name).chunks(blocks)

    def _check_records(self) -> None:
        if self.arrived == 0:
            raise HeaderOnlyError(
                f"{self.file_name} holds no data record; ask {self.mapping.display_name} for "
                f"the data, or discard the file if nothing was due."
            )
        if self._undecodable == self.arrived:
            raise WrongEncodingError(
                f"{self.file_name}: no record is written in {self.mapping.format.encoding}; ask "
                f"for that encoding or correct the mapping {self.vendor}.yaml."
            )

    def _reject(self, line: RejectedLine) -> None:
        self.rejected.append(line)
        self._quarantined[line.partition_key] += 1
        self._undecodable += line.rule == "undecodable"


def open_delivery(
    path: Path,
    file_name: str,
    mapping: VendorMapping,
    *,
    today: date,
    received_at: datetime,
    file_sha256: str,
    max_line_bytes: int = LINE_LIMIT_BYTES,
    temp_folder: Path | None = None,
) -> Delivery:
    """Return a file to be read through its vendor's mapping; nothing is read yet.

    `today` (UTC) bounds as-of dates, `received_at` (UTC) and `file_sha256` become provenance,
    `max_line_bytes` bounds memory, `temp_folder` holds many rejected lines.
    """
    return Delivery(
        path,
        file_name,
        mapping,
        today=today,
        received_at=received_at,
        file_sha256=file_sha256,
        max_line_bytes=max_line_bytes,
        temp_folder=temp_folder,
    )
