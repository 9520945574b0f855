"""What test_publish_killed kills: three tables that are staged and published.

It runs in a process that is forked from one which has loaded everything, and says when it begins.
"""

import importlib

import pyarrow as pa

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

PHASES = ("writing",)
RUN_ID = "killed-run"
MONTHS = ("2026-09-01", "2026-10-01", "2026-11-01")
FILES = ("a" * 64, "b" * 64)
SCHEMA = pa.schema(
    [
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("as_of_month", pa.date32(), nullable=False),
        pa.field("amount", pa.decimal128(20, 4), nullable=False),
        pa.field("file_sha256", pa.string(), nullable=False),
    ]
)
REPLACED = LakeTable("faults", "silver", "replaced", SCHEMA, "By month.", "as_of_month")
REPLACED_BY_FILE = LakeTable("faults", "bronze", "by_file", SCHEMA, "By file.", "as_of_month")
APPENDED = LakeTable("faults", "gold", "appended", SCHEMA, "Appended.", "as_of_month")
TABLES = (REPLACED, REPLACED_BY_FILE, APPENDED)


for module in ("pyiceberg.catalog.sql", "pyiceberg.table"):
    importlib.import_module(module)  # loaded before any writer is forked


def rows(con, months, file):
    listed = ", ".join(f"(DATE '{month}')" for month in months)
    return con.sql(
        f"""SELECT 'account ' || i AS account_id, as_of_month, i * 1.25 AS amount,
        '{file}' AS file_sha256 FROM range(20_000) r(i), (VALUES {listed}) m(as_of_month)"""
    )


def write(lake, con):
    for month in MONTHS:
        for table, replace in ((REPLACED, f"as_of_month == '{month}'"), (APPENDED, None)):
            staged = lake.stage(table, rows(con, [month], "f"), run_id=RUN_ID, partition=month)
            lake.publish(staged, replace=replace, properties={"code_version": "test"})
    for file in FILES:
        staged = lake.stage(
            REPLACED_BY_FILE, rows(con, MONTHS, file), run_id=RUN_ID, partition=file
        )
        lake.publish(staged, replace=f"file_sha256 == '{file}'", properties={})


def content(lake, con):
    """Return the rows of every table: their number and a checksum of all values."""
    checksum = "count(*), sum(hash(account_id, as_of_month, amount, file_sha256))"
    return {
        table.name: lake.relation(con, table).aggregate(checksum).fetchall() for table in TABLES
    }


def main(home, url, said):
    settings = Settings(home=home, threads=1, memory_limit="500MB")
    lake = Lake.open(settings, url)
    with connect(settings) as con:
        lake.ensure(REPLACED)
        said.send("writing")
        write(lake, con)
    said.send("done")
