"""A small platform with a server and a lake of its own, and its backup; tests only read it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.wal import keep_all

SCHEMA = pa.schema(
    [
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("as_of_month", pa.date32(), nullable=False),
        pa.field("amount", pa.int64(), nullable=False),
    ]
)
BALANCES = LakeTable("sample", "silver", "balances", SCHEMA, "A sample.", "as_of_month")
TOTALS = LakeTable("sample", "gold", "totals", SCHEMA, "Another one.")
MONTHS = ("2026-09-01", "2026-10-01")


def publish(services: Services, table: LakeTable, month: str, amount: int, run: str) -> None:
    """Publish three rows of a month."""
    with services.connect() as con:
        rows = con.sql(
            f"SELECT 'account ' || i AS account_id, DATE '{month}' AS as_of_month,"
            f" {amount} + i AS amount FROM range(3) r(i)"
        )
        replace = f"as_of_month == '{month}'"
        staged = services.lake.stage(table, rows, run_id=run, partition=month)
        services.lake.publish(staged, replace=replace, properties={"position": f"{amount}"})


def rows_of(services: Services, table: LakeTable) -> list[tuple[object, ...]]:
    """Read a table through the catalog, sorted."""
    with services.connect() as con:
        return sorted(services.lake.relation(con, table).fetchall())


def note(services: Services, text: str) -> datetime:
    """Write something to the database; return an instant after it and before anything else."""
    with services.database.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES (%s)", (text,))
    return utc_now()


def notes(services: Services) -> list[str]:
    """Return what was written."""
    with services.database.connection() as connection:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY text")]


@contextmanager
def platform(folder: Path, **others: Any) -> Iterator[Settings]:
    """Start a server of the platform's own below a folder, for the length of a `with` block."""
    settings = Settings(home=folder / "home", environment="test", **others)
    embedded.start(settings)
    try:
        yield settings
    finally:
        embedded.stop(settings)


def fill(services: Services) -> None:
    """Publish a month of a table of the lake, and make a table of the database."""
    publish(services, BALANCES, MONTHS[0], 100, "run")
    with services.database.transaction() as connection:
        connection.execute("CREATE TABLE notes (text text)")


@dataclass
class BackedUp:
    """A platform, its backup, and an instant between two later changes of the database."""

    settings: Settings
    services: Services
    sets: BackupSets
    backup: PlatformBackup
    between: datetime


@pytest.fixture(scope="package")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    """Back up a lake of two tables and a database, then change the database twice."""
    with (
        platform(tmp_path_factory.mktemp("recovery")) as settings,
        Services(settings) as services,
    ):
        fill(services)
        publish(services, BALANCES, MONTHS[1], 100, f"run of {MONTHS[1]}")
        publish(services, TOTALS, MONTHS[0], 900, "run of totals")
        note(services, "before")
        backup = create_backup(services, reason="test", clock=utc_now)
        between = note(services, "kept")
        note(services, "mistake")
        with services.database.autocommit_connection() as connection:
            keep_all(connection)
        yield BackedUp(settings, services, BackupSets(settings), backup, between)


@pytest.fixture
def copied(backed_up: BackedUp, tmp_path: Path) -> BackupSets:
    """Return the same backups in a folder that the test may damage."""
    folder = tmp_path / "backups"
    shutil.copytree(backed_up.settings.backups_location, folder)
    settings = Settings(home=tmp_path / "home", environment="test", backups_location=str(folder))
    return BackupSets(settings)
