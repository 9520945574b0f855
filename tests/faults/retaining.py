"""What test_retention_killed kills: one pass of retention over tables, files and Dagster's runs."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from pipeline_platform.operations.retention import Retention
from pipeline_platform.orchestration.run_retention import OldRuns
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import retention as tables
from tests.assets.platform_runs import settings_at

PIPELINE = "web_events"
NOW = datetime.now(UTC) + timedelta(days=3000)
ROWS, FILES, RUNS = 400, 30, 5
PHASES = ("files", "tables", "runs")


@dg.asset
def weather() -> None:
    """Make nothing."""


def prepare(home: Path, url: str) -> None:
    """Make old rows, archived files and runs; of each the latest must stay or is not old."""
    settings = settings_at(home, url)
    with Services(settings) as services, services.database.transaction() as connection:
        for number in range(FILES):
            sha256 = f"{number:064x}"
            path = archive_of(settings) / sha256[:2] / sha256 / "events.gz"
            path.parent.mkdir(parents=True)
            path.write_text("content")
            connection.execute(
                "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, status,"
                " size_bytes, arrived_at, processing_start_time, run_id)"
                " VALUES (%s, 'f', %s, %s, 7, now(), now(), 'run')",
                (PIPELINE, sha256, "COMPLETED" if number else "PUBLISHED"),
            )
        connection.execute(
            "INSERT INTO check_observations (observed_at, pipeline, check_name, outcome)"
            " SELECT now() - i * interval '1 hour', 'p', 'a', 'pass'"
            " FROM generate_series(1, %s) AS t (i)",
            (ROWS,),
        )
    with instance_at(home) as instance:
        for _ in range(RUNS):
            dg.materialize([weather], instance=instance)


def instance_at(home: Path) -> dg.DagsterInstance:
    """Open an instance whose runs are kept in files of the folder."""
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    return dg.DagsterInstance.from_ref(
        dg._core.instance.InstanceRef.from_dir(str(home / "dagster"))
    )


def archive_of(settings: Settings) -> Path:
    return Path(settings.archive_location) / PIPELINE


def left(home: Path, url: str) -> tuple[int, int, int]:
    """Return how many rows, files and runs there are."""
    settings = settings_at(home, url)
    with Services(settings) as services, services.database.connection() as connection:
        (rows,) = connection.execute("SELECT count(*) FROM check_observations").fetchone()
    with instance_at(home) as instance:
        runs = instance.get_runs_count()
    return rows, sum(1 for _ in archive_of(settings).rglob("*.gz")), runs


def main(home: Path, url: str, said: object) -> None:
    """Do one pass, and say before which kind of place it is."""
    tables.ROWS_AT_ONCE = 20
    with Services(settings_at(home, url)) as services, instance_at(home) as instance:
        retention = Retention.of(services, NOW, f"r-{os.getpid()}", OldRuns(instance), lambda: ())
        for phase, names in zip(PHASES, ("archived", "check_observations", "Dagster"), strict=True):
            said.send(phase)
            for place in retention.places():
                if names in place.name:
                    list(place.forget(NOW - timedelta(days=place.kept_days)))
    said.send("done")
