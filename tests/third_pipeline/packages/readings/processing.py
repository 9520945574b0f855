"""Bronze to silver, gold and the served table."""

from collections.abc import Sequence
from datetime import date

from pipeline_platform.readings.run_context import RunContext
from pipeline_platform.readings.tables import (
    PIPELINE,
    RAW_READINGS,
    READINGS,
    SERVED,
    TABLES,
    TOTALS,
)

from pipeline_platform.code_version import code_version
from pipeline_platform.lake.relations import as_view
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import partition_key, range_filter, span_of
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.refinement import (
    HOP,
    audited,
    before_reading,
    complete_partitions,
    publish_silver,
    refined_versions,
)
from pipeline_platform.services import Services
from pipeline_platform.warehouse.progress import record_versions


def process_days(run: RunContext, days: Sequence[date]) -> None:
    """Take days from bronze to the served table."""
    lake = run.services.lake
    for table in TABLES:
        lake.ensure(table)
    _refine(run, days)
    versions = refined_versions(run.services.database, PIPELINE, days)
    with run.services.connect() as engine:
        silver = as_view(lake.relation(engine, READINGS, months=(days[0], days[-1])))
        rows = engine.sql(f"SELECT day, account_id, sum(value) AS value FROM {silver} GROUP BY ALL")
        staged = lake.stage(TOTALS, rows, run_id=run.run_id, partition=span_of(days))
    lake.publish(staged, replace=range_filter("day", days), properties=_made_from(run, READINGS))
    with run.services.database.transaction() as connection:
        record_versions(connection, PIPELINE, "gold", versions, run.now())
    load_days(run.services, run.run_id, days)
    complete_partitions(run.services.database, PIPELINE, versions, run.now())


def load_days(services: Services, run_id: str, days: Sequence[date]) -> None:
    """Load days of the served table again from gold."""
    with services.connect() as engine:
        rows = services.lake.relation(engine, TOTALS, months=(days[0], days[-1])).fetchall()
    with services.database.transaction() as connection:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {SERVED}"
            " (day date, account_id text, value double precision)"
        )
        connection.execute(f"DELETE FROM {SERVED} WHERE day = ANY(%s)", (list(days),))
        for row in rows:
            connection.execute(f"INSERT INTO {SERVED} VALUES (%s, %s, %s)", row)


def _refine(run: RunContext, days: Sequence[date]) -> None:
    lake, before = run.services.lake, before_reading(run, RAW_READINGS, days)
    with run.services.connect() as engine:
        bronze = as_view(lake.relation(engine, RAW_READINGS, months=(days[0], days[-1])))
        columns = "day, account_id, value::DOUBLE AS value, file_sha256, line_number"
        rows = engine.sql(f"SELECT {columns} FROM {bronze}")
        staged = lake.stage(READINGS, rows, run_id=run.run_id, partition=span_of(days))
        counted = engine.sql(
            f"SELECT day, file_sha256, count(*)::INTEGER FROM {bronze} GROUP BY ALL"
        ).fetchall()
    ledger = [
        LedgerEntry(PIPELINE, HOP, sha256, partition_key(day), count, count, 0, 0, 0)
        for day, sha256, count in counted
    ]
    publish_silver(
        run,
        audited(run, before, days, staged={READINGS.name: staged}, audit={}, ledger=ledger),
    )


def _made_from(run: RunContext, table: LakeTable) -> dict[str, str]:
    last = run.services.lake.last_publication(table)
    snapshot = last.snapshot_id if last else None
    return {"code_version": code_version(), "inputs": f"{table.name}@{snapshot}"}
