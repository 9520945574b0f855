"""What a platform holds, table by table, so that two runs can be compared."""

from collections import Counter
from collections.abc import Collection, Mapping

import pyarrow as pa

from pipeline_platform.advisory_performance.tables import PIPELINE, TABLES
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.services import Services

Content = Mapping[str, Counter[tuple[object, ...]]]

RUN_COLUMNS = {
    "performance_data": ("lake_snapshot_id", "run_id", "created_at"),
    "etl_processing_log": (
        "processing_id",
        "processing_start_time",
        "processing_end_time",
        "published_at",
        "completed_at",
        "run_id",
        "location",
        "duration_seconds",
        "partition_versions",
        "last_duplicate_at",
    ),
    "quarantined_files": ("location", "quarantined_at"),
    "quarantined_rows": ("quarantine_id", "run_id", "quarantined_at"),
    "conservation_ledger": ("run_id", "recorded_at"),
    "partition_work": ("requested_at", "version"),
}
"""Tables of PostgreSQL, and their columns that tell of a run and not of the data."""

INSTANTS_OF_RUNS = {
    "time_weighted_returns": ("known_from", "known_to"),
    "restatements": ("previously_known_from", "restated_at"),
}
"""Columns of the lake that hold when a run published (silver has the files' arrivals there)."""


def comparable(table: LakeTable, left_out: Collection[str] = ()) -> str:
    """Name the columns to read; as text, so that a number that is none equals itself."""
    return ", ".join(
        f"{one.name}::VARCHAR" if one.type == pa.float64() else one.name
        for one in table.schema
        if one.name not in left_out
    )


def lake_content(
    services: Services, *, without_instants: bool = False, tables: Collection[str] | None = None
) -> Content:
    """Return the rows of every lake table; as a multiset, since a table has no order."""
    found = {}
    with services.connect() as engine:
        for table in TABLES:
            if tables is not None and table.name not in tables:
                continue
            left_out = INSTANTS_OF_RUNS.get(table.name, ()) if without_instants else ()
            relation = services.lake.relation(engine, table).project(comparable(table, left_out))
            found[table.name] = Counter(relation.fetchall())
    return found


def database_content(services: Services, tables: Collection[str] = tuple(RUN_COLUMNS)) -> Content:
    """Return the rows of PostgreSQL's tables without run ids and times."""
    found = {}
    with services.database.connection() as connection:
        for table in tables:
            columns = [
                f'"{name}"::text'
                for (name,) in connection.execute(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = 'public' AND table_name = %s ORDER BY column_name",
                    (table,),
                ).fetchall()
                if name not in RUN_COLUMNS[table]
            ]
            query = f"SELECT {', '.join(columns)} FROM {table} WHERE pipeline = '{PIPELINE}'"
            if table == "performance_data":
                query = query.partition(" WHERE ")[0]
            found[table] = Counter(connection.execute(query.encode()).fetchall())
    return found


def differences(before: Content, after: Content) -> dict[str, str]:
    """Name the tables whose rows differ, with the numbers and one example of each side."""
    found = {}
    for name in sorted(before.keys() | after.keys()):
        gone = before.get(name, Counter()) - after.get(name, Counter())
        come = after.get(name, Counter()) - before.get(name, Counter())
        if gone or come:
            found[name] = (
                f"{gone.total()} rows gone, such as {next(iter(gone), None)}; "
                f"{come.total()} rows new, such as {next(iter(come), None)}"
            )
    return found
