"""What test_lineage_killed kills: rounds that tell a lineage service of runs and loads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests  # noqa: F401 -- loaded before any process is forked
from pydantic import SecretStr

from pipeline_platform.operations.lineage_export import LineageExport
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.run_records import EndedRun, record_run

RUNS, LOADS = 30, 20
ASSETS = {("shop", "serving", "orders"): []}
PIECES_A_ROUND = 7


def settings_of(home: Path, url: str, address: str) -> Settings:
    return Settings(home=home, environment="test", database_url=SecretStr(url), lineage_url=address)


def prepare(services: Services) -> None:
    """Note runs and loads of which nobody was told."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with services.database.transaction() as connection:
        for number in range(RUNS):
            at = start + timedelta(minutes=number)
            run_id = f"00000000-0000-4000-8000-{number:012}"
            record_run(connection, EndedRun(run_id, "shop", "shop_days", "SUCCESS", at, at, at))
        for number in range(LOADS):
            connection.execute(
                "INSERT INTO served_loads (pipeline, partition_key, served_at)"
                " VALUES ('shop', %s, %s)",
                (f"2026-03-{number + 1:02}", start + timedelta(hours=number)),
            )


def main(home: Path, url: str, address: str) -> None:
    """Tell everything, in small rounds."""
    with Services(settings_of(home, url, address)) as services:
        export = LineageExport(services, ASSETS, lambda _: None, PIECES_A_ROUND)
        while not export.send().is_complete:
            pass
