"""Event files on their way to bronze: split by bytes, judged by SQL, written as delivered."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import BIGINT, BOOLEAN, VARCHAR

from pipeline_platform.ingestion import files
from pipeline_platform.ingestion.delivery_errors import DeliveryError, EmptyFileError
from pipeline_platform.ingestion.files import FileOutcome
from pipeline_platform.ingestion.intake import Vendor
from pipeline_platform.ingestion.rejected_lines import RejectedLine, RejectedLines
from pipeline_platform.lake.relations import unique_name
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.zone import ClaimedFile
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.bronze_events import (
    Provenance,
    judged_records,
    rejected_line,
)
from pipeline_platform.web_events.record_lines import RecordLines
from pipeline_platform.web_events.rulings import Rulings
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.sources import JsonEvents, SourceMapping, mapping_for
from pipeline_platform.web_events.tables import RAW_EVENTS

BATCH_ROWS = 4_096
"""How many records wait for their file at once: about two megabytes."""
BRONZE_COLUMNS = ", ".join(RAW_EVENTS.schema.names)


class NothingReadableError(DeliveryError):
    """Every record of the file was rejected: it is of another kind than its name says."""

    rule = "nothing_readable"


class EventReading:
    """One file's records.

    The rows stream from the file to bronze, and on the way rejected records are set aside: a file
    is read once.
    """

    def __init__(
        self,
        engine: duckdb.DuckDBPyConnection,
        path: Path,
        mapping: SourceMapping,
        provenance: Provenance,
        rulings: Rulings,
    ) -> None:
        self._engine = engine
        self._path = path
        self._mapping = mapping
        self._provenance = provenance
        self._rulings = rulings
        self._unreadable = RejectedLines()

    @cached_property
    def _lines(self) -> RecordLines:
        return RecordLines(
            self._path,
            self._provenance.file_name,
            are_objects=isinstance(self._mapping.format, JsonEvents),
            max_line_bytes=self._rulings.deliveries.max_line_bytes,
            max_json_depth=self._rulings.max_json_depth,
        )

    @property
    def rows(self) -> pa.RecordBatchReader:
        """The good records, with the columns of RAW_EVENTS, as they are read."""
        return self.records.to_arrow_reader(BATCH_ROWS)

    @property
    def records(self) -> duckdb.DuckDBPyRelation:
        """The same, to be read once, by the reading's own engine."""
        judged = judged_records(
            self._engine,
            self._engine.from_arrow(self._lines.stream()),
            self._mapping,
            self._provenance,
            max_future=timedelta(minutes=self._rulings.max_future_minutes),
        )
        set_aside = unique_name("set_aside")
        self._engine.create_function(
            set_aside,
            self._set_aside,
            [BIGINT, VARCHAR, VARCHAR, VARCHAR],
            BOOLEAN,
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
            side_effects=True,
        )
        is_kept = (
            "CASE WHEN rule IS NULL THEN true"
            f" ELSE {set_aside}(line_number, rule, event_time, raw) END AS is_kept"
        )
        return judged.project(f"*, {is_kept}").filter("is_kept").project(BRONZE_COLUMNS)

    @property
    def arrived(self) -> Mapping[str, int]:
        """How many records the file holds, of whatever day."""
        return {"": self._lines.count}

    @property
    def failure(self) -> Exception | None:
        """What the reading ended in."""
        return self._lines.failure

    def rejected(self, published: int) -> Iterator[RejectedLine]:
        """Yield the records that stay out of bronze.

        Raises EmptyFileError for a file without records, NothingReadableError for one with no
        readable record.
        """
        name, count = self._provenance.file_name, self._lines.count
        if not count:
            raise EmptyFileError(f"{name} holds no record; ask for it again, or discard the file.")
        if not published:
            first = next(iter(self._unread()))
            raise NothingReadableError(
                f"None of the {count:,} records of {name} can be read as its source "
                f"{self._mapping.source} writes them; line {first.line_number}: {first.reason}"
            )
        if published < count:
            yield from self._unread()

    def _unread(self) -> Iterator[RejectedLine]:
        yield from self._lines.rejected
        yield from self._unreadable

    def _set_aside(
        self, line_number: pa.Array, rule: pa.Array, time: pa.Array, record: pa.Array
    ) -> pa.Array:
        """Note records that stay out, and say of each that it is not kept.

        DuckDB calls it once for each such record, and for no others.
        """
        columns = [one.to_pylist() for one in (line_number, rule, time, record)]
        for values in zip(*columns, strict=True):
            self._unreadable.append(rejected_line(*values))
        return pa.array([False] * len(line_number))


@dataclass(frozen=True)
class EventFiles:
    """This pipeline's intake."""

    run: RunContext
    table: LakeTable = RAW_EVENTS

    def vendor_of(self, file_name: str) -> Vendor:
        """Return the source that a file's name belongs to; raise UnknownVendorError if none."""
        mapping = mapping_for(file_name, self.run.sources)
        return Vendor(mapping.source, mapping.title, mapping.version)

    @contextmanager
    def read(self, file: ClaimedFile, path: Path, received_at: datetime) -> Iterator[EventReading]:
        """Open a file's content through its source's mapping."""
        settings = self.run.services.settings
        with self.run.services.connect(
            memory_limit=settings.file_memory_limit,
            threads=max(1, settings.engine_threads // settings.files_at_once),
        ) as engine:
            yield EventReading(
                engine,
                path,
                mapping_for(file.name, self.run.sources),
                Provenance(file.name, file.sha256, received_at),
                self.run.runbook.rulings,
            )


def event_files(services: Services, run_id: str) -> EventFiles:
    """Return the intake of one run."""
    return EventFiles(RunContext(services, run_id))


def events_stream(settings: Settings) -> str | None:
    """Return the stream that this pipeline reads; None if none is configured."""
    return settings.events_stream


def ingest_arrivals(run: RunContext, keys: Sequence[str] | None = None) -> Iterator[FileOutcome]:
    """Take waiting event files to bronze; see `ingestion.files.ingest_arrivals`."""
    return files.ingest_arrivals(EventFiles(run), keys)
