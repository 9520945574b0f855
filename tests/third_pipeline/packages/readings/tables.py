"""The lake's tables of readings."""

import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable

PIPELINE = "readings"
SERVED = "meter_totals"

_DAY = pa.field("day", pa.date32(), nullable=False)
_METER = pa.field("account_id", pa.string(), nullable=False)
_ORIGIN = [
    pa.field("file_sha256", pa.string(), nullable=False),
    pa.field("line_number", pa.int64(), nullable=False),
]

RAW_READINGS = LakeTable(
    pipeline=PIPELINE,
    layer="bronze",
    name="raw_readings",
    schema=pa.schema([_DAY, _METER, pa.field("value", pa.string()), *_ORIGIN]),
    description="Every reading as delivered.",
    partition_by="day",
)
READINGS = LakeTable(
    pipeline=PIPELINE,
    layer="silver",
    name="readings",
    schema=pa.schema([_DAY, _METER, pa.field("value", pa.float64(), nullable=False), *_ORIGIN]),
    description="Readings as numbers.",
    partition_by="day",
)
TOTALS = LakeTable(
    pipeline=PIPELINE,
    layer="gold",
    name="totals",
    schema=pa.schema([_DAY, _METER, pa.field("value", pa.float64(), nullable=False)]),
    description="The sum of each meter and day.",
    partition_by="day",
)
TABLES = (RAW_READINGS, READINGS, TOTALS)
