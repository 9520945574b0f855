"""What grows, day by day: events and bytes of the lake's tables, of the database and of the disk.

A table that is partitioned by day tells its own history: its live files by day. Database and disk
keep none, so their size is remembered once a day by a schedule, and each time that somebody asks.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import psycopg

from pipeline_platform.lake.engine import is_remote
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.forecasts import Series
from pipeline_platform.services import Services

Connection = psycopg.Connection[Any]
DATABASE, DISK = "database", "disk"


def table_series(services: Services, table: LakeTable, today: date) -> Iterator[Series]:
    """Yield rows per day and bytes up to each day of a table partitioned by day.

    Today and later days are left out: they are not over. Compaction and expiry change past
    values, as they change what the table takes. A table of months has no such series.
    """
    if not str(table.partition_by).endswith("_date"):
        return
    sizes = services.lake.partition_sizes(table)
    dated = {day: size for day, size in sizes.items() if isinstance(day, date) and day < today}
    days = tuple(sorted(dated))
    name = "/".join(table.asset_key)
    rows = tuple(float(dated[day].rows) for day in days)
    size_bytes = tuple(float(total) for total in accumulate(dated[day].bytes for day in days))
    yield Series(
        f"{name}/rows_per_day", f"{name}: rows a day", "rows", days, rows, "multiplicative"
    )
    yield Series(f"{name}/bytes", f"{name}: size", "bytes", days, size_bytes, "additive")


def series_of(services: Services, pipelines: Iterable[str], today: date) -> list[Series]:
    """Return the series of every table of these pipelines, and of database and disk."""
    found = [
        one
        for pipeline in pipelines
        for table in services.lake.tables(pipeline)
        for one in table_series(services, table, today)
    ]
    with services.database.connection() as connection:
        return [*found, *sampled_series(connection)]


def remember_sizes(services: Services, now: datetime) -> dict[str, int]:
    """Remember today's size of the database and of what is used of a local lake's disk.

    Returns the sizes in bytes by subject.
    """
    with services.database.transaction() as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        sizes = {DATABASE: int(row[0]) if row else 0}
        if not is_remote(services.settings.processed_location):
            home = Path(services.settings.processed_location)
            home.mkdir(parents=True, exist_ok=True)
            sizes[DISK] = shutil.disk_usage(home).used
        for subject, size_bytes in sizes.items():
            record_size(connection, subject, now.date(), size_bytes)
    return sizes


def record_size(conn: Connection, subject: str, day: date, size_bytes: int) -> None:
    """Write down a size; the last one of a day counts."""
    conn.execute(
        """
        INSERT INTO size_samples (subject, measured_date, size_bytes) VALUES (%s, %s, %s)
        ON CONFLICT (subject, measured_date) DO UPDATE SET size_bytes = excluded.size_bytes
        """,
        (subject, day, size_bytes),
    )


def sampled_series(
    conn: Connection, subjects: Sequence[str] = (DATABASE, DISK)
) -> Iterator[Series]:
    """Yield the remembered sizes of database and disk."""
    for subject in subjects:
        rows = conn.execute(
            "SELECT measured_date, size_bytes FROM size_samples WHERE subject = %s"
            " ORDER BY measured_date",
            (subject,),
        ).fetchall()
        yield Series(
            f"{subject}/bytes",
            f"{subject}: size",
            "bytes",
            tuple(day for day, _ in rows),
            tuple(float(size) for _, size in rows),
            "additive",
        )
