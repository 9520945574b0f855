"""Files of readings on their way to bronze."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
from pipeline_platform.readings.run_context import RunContext
from pipeline_platform.readings.tables import RAW_READINGS

from pipeline_platform.ingestion.intake import Vendor
from pipeline_platform.ingestion.rejected_lines import RejectedLine
from pipeline_platform.ingestion.replay import FilePreview, Foretold
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.zone import ClaimedFile
from pipeline_platform.services import Services


@dataclass
class Lines:
    """A file's lines: rows, rejected ones, and how many arrived by day."""

    rows: pa.Table
    bad: list[RejectedLine]
    arrived: Counter[str]
    failure: Exception | None = field(default=None)

    def rejected(self, published: int) -> list[RejectedLine]:
        return self.bad


@dataclass(frozen=True)
class ReadingFiles:
    """This pipeline's intake."""

    run: RunContext
    table: LakeTable = RAW_READINGS
    separator: str = ","

    def vendor_of(self, file_name: str) -> Vendor:
        return Vendor("meters", "Meters", "1")

    @contextmanager
    def read(self, file: ClaimedFile, path: Path, received_at: datetime) -> Iterator[Lines]:
        rows, bad, arrived = [], [], Counter[str]()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            try:
                meter, day, value = line.split(self.separator)
                rows.append((date.fromisoformat(day), meter, value, file.sha256, number))
                arrived[day] += 1
            except ValueError:
                bad.append(RejectedLine(number, "three_fields", "No meter,day,value.", None, line))
                arrived[""] += 1
        columns = list(zip(*rows, strict=True)) or [[] for _ in RAW_READINGS.schema]
        fields = RAW_READINGS.schema
        arrays = [pa.array(one, of.type) for one, of in zip(columns, fields, strict=True)]
        yield Lines(pa.Table.from_arrays(arrays, schema=fields), bad, arrived)


def files_through(services: Services, run_id: str, mappings: Path) -> ReadingFiles:
    """Return an intake whose lines are separated as a folder of mappings says."""
    separator = (mappings / "separator.txt").read_text("utf-8")
    return ReadingFiles(RunContext(services, run_id), separator=separator)


def foretell(intake: ReadingFiles, preview: FilePreview, folder: Path) -> Foretold:
    """Say which days would get readings."""
    days = sorted({day for one in preview.again for day in one.published})
    return Foretold(tuple(days), (), (("Days", [{"day": day} for day in days]),), {"days": days})


def reading_files(services: Services, run_id: str) -> ReadingFiles:
    """Return the intake of one run."""
    return ReadingFiles(RunContext(services, run_id))
