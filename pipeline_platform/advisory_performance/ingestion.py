"""Vendors' files on their way to bronze: each is read through its vendor's mapping."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from pipeline_platform.advisory_performance.deliveries import Delivery, open_delivery
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.advisory_performance.vendors import mapping_for
from pipeline_platform.ingestion import files
from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.ingestion.intake import Vendor
from pipeline_platform.ingestion.rejected_lines import RejectedLines
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.zone import ClaimedFile

__all__ = ["FileOutcome", "VendorFiles", "ingest_arrivals"]


@dataclass(frozen=True)
class VendorReading:
    """A delivery as the platform takes it to bronze."""

    delivery: Delivery

    @property
    def rows(self) -> pa.RecordBatchReader:
        """The good lines, streamed."""
        return pa.RecordBatchReader.from_batches(VENDOR_ROWS.schema, self.delivery.batches())

    def rejected(self, published: int) -> RejectedLines:  # noqa: ARG002 -- known without it
        """Return the lines that stay out."""
        return self.delivery.rejected

    @property
    def arrived(self) -> Mapping[str, int]:
        """The file's records by month."""
        return {month: count.arrived for month, count in self.delivery.counts.items()}

    @property
    def failure(self) -> Exception | None:
        """What the reading ended in."""
        return self.delivery.failure


@dataclass(frozen=True)
class VendorFiles:
    """This pipeline's intake."""

    run: RunContext
    table: LakeTable = VENDOR_ROWS

    def vendor_of(self, file_name: str) -> Vendor:
        """Return whose mapping claims the file's name; raise UnknownVendorError if none does."""
        mapping = mapping_for(file_name, self.run.mappings)
        return Vendor(mapping.vendor, mapping.display_name, mapping.version)

    @contextmanager
    def read(self, file: ClaimedFile, path: Path, received_at: datetime) -> Iterator[VendorReading]:
        """Open a file's content through its vendor's mapping, dated by its first arrival."""
        with open_delivery(
            path,
            file.name,
            mapping_for(file.name, self.run.mappings),
            today=self.run.now().date(),
            received_at=received_at,
            file_sha256=file.sha256,
            max_line_bytes=self.run.runbook.rulings.deliveries.max_line_bytes,
        ) as delivery:
            yield VendorReading(delivery)


def ingest_arrivals(run: RunContext, keys: Sequence[str] | None = None) -> Iterator[FileOutcome]:
    """Take waiting vendor files to bronze; see `ingestion.files.ingest_arrivals`."""
    return files.ingest_arrivals(VendorFiles(run), keys)
