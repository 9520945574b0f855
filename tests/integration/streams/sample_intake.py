"""A small pipeline whose files are gzip of JSON lines: `{"id": ..., "day": "2026-10-01"}`."""

import gzip
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from pipeline_platform.ingestion.intake import Vendor
from pipeline_platform.ingestion.rejected_lines import RejectedLine
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.run_context import RunContext

CLICKS = LakeTable(
    pipeline="clicks",
    layer="bronze",
    name="clicks",
    schema=pa.schema(
        [
            pa.field("event_date", pa.date32(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("file_sha256", pa.string(), nullable=False),
            pa.field("line_number", pa.int64(), nullable=False),
        ]
    ),
    description="A sample.",
    partition_by="event_date",
)
VENDOR = Vendor("clicks", "Clicks", "1")


@dataclass
class Lines:
    """What a file's lines are: rows, rejected lines, and how many arrived by day."""

    rows: pa.Table
    bad: list[RejectedLine] = field(default_factory=list)
    arrived: Counter = field(default_factory=Counter)
    failure: Exception | None = None

    def rejected(self, published):
        return self.bad


@dataclass(frozen=True)
class ClicksIntake:
    run: RunContext
    table: LakeTable = CLICKS

    def vendor_of(self, file_name):
        return VENDOR

    @contextmanager
    def read(self, file, path, received_at):
        rows, rejected, arrived = [], [], Counter()
        for number, line in enumerate(gzip.decompress(path.read_bytes()).splitlines(), 1):
            try:
                event = json.loads(line)
                day = date.fromisoformat(event["day"])
                rows.append((day, event["id"], file.sha256, number))
                arrived[str(day)] += 1
            except (ValueError, KeyError, TypeError):
                text = line.decode(errors="backslashreplace")
                rejected.append(RejectedLine(number, "not_json", "It is no JSON.", None, text))
                arrived[""] += 1
        columns = list(zip(*rows, strict=True)) or [[]] * len(CLICKS.schema)
        arrays = [pa.array(c, t.type) for c, t in zip(columns, CLICKS.schema, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=CLICKS.schema)
        yield Lines(table, rejected, arrived)


def clicks_intake(services, run_id):
    """Return the intake of one run; it needs no runbook."""
    return ClicksIntake(RunContext(services, run_id, runbook=None))
