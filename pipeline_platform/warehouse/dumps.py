"""Copies of databases on a server that is not ours: one file each, without its log.

Such a server's log is not ours to archive, so the platform brings back what a dump holds and
nothing later; its provider may do more (for Amazon RDS: automated backups).
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline_platform.warehouse.database import connect
from pipeline_platform.warehouse.physical_backup import HOURS_TO_RECOVER, client
from pipeline_platform.warehouse.table_contents import TableContent, frozen_contents

_SECONDS = HOURS_TO_RECOVER * 3600


def dump(url: str, path: Path) -> Mapping[str, TableContent]:
    """Write a database to a file; return what its tables held, by `schema.table`."""
    with connect(url, autocommit=True) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None  # noqa: S101 -- a function's result is one row
        arguments = [
            "--format=custom",
            "--compress=gzip:1",
            "--no-owner",
            "--no-privileges",
            f"--snapshot={row[0]}",
            f"--file={path}",
        ]
        client("pg_dump", arguments, url, seconds=_SECONDS)
        return dict(frozen_contents(connection))


def load(url: str, path: Path) -> None:
    """Make a database again what a dump says, in one transaction; what the dump lacks stays."""
    arguments = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
    client("pg_restore", [*arguments, str(path)], url, seconds=_SECONDS)
