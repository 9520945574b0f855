"""`verify` finds what does not hold together, also after a restoration (SA-66, SW-51)."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_platform.ingestion.stream_batches import consume
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.integrity import compared_with, look_at_platform
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.streams.committed import property_name
from pipeline_platform.streams.kinesis import KinesisReader
from pipeline_platform.warehouse.partitions import premake_months
from pipeline_platform.web_events.analyst_queries import newest_queries
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS
from tests.integration.commands.conftest import Shell
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS
from tests.integration.recovery.conftest import BackedUp
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.web_events.event_files import (
    deliver,
    event,
    events,
    ingest,
    refine_requested,
)
from tests.prepared import PreparedPlatform

STREAM = "web-events"
ASPECTS = [
    "database",
    "lake files",
    "lake checksums",
    "lake partitions",
    "served partitions",
    "contracts",
    "conservation ledger",
    "positions",
    "delivered files",
    "delivered files of the backup",
    "sample queries",
]


def fill(services: Services) -> None:
    """Take in files and a stream, refine them, and back the lake up."""
    run = RunContext(services, "run")
    deliver(services, "events_1.ndjson", events(20) + b"no json\n")
    deliver(services, "events_2.ndjson", b"nothing readable\n")
    ingest(run)
    with pytest.MonkeyPatch.context() as patch, LocalKinesis(STREAM) as kinesis:
        for name, value in MADE_UP_CREDENTIALS.items():
            patch.setenv(name, value)
        kinesis.put(event("from-stream"))
        settings = services.settings.model_copy(update={"kinesis_endpoint": kinesis.address})
        reader, limits = KinesisReader(settings, STREAM), run.runbook.rulings.stream.limits
        list(consume(EventFiles(run), reader, limits, max_batches=5))
    refine_requested(run)
    with services.database.transaction() as connection:
        premake_months(connection, "performance_data", utc_now().date(), 1)
    create_backup(services, reason="test", clock=utc_now, has_database=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, new_database) -> PreparedPlatform:
    return PreparedPlatform.made(tmp_path_factory.mktemp("whole"), new_database, fill)


@pytest.fixture
def settings(prepared: PreparedPlatform) -> Settings:
    return prepared.restored()


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


def look(services: Services) -> dict[str, tuple[str, ...]]:
    """Return the faults of each aspect."""
    backup = compared_with(BackupSets(services.settings), None, None)
    queries = newest_queries(services)
    looked = look_at_platform(services, utc_now(), queries=queries, backup=backup)
    return {one.aspect: one.faults for one in looked}


def data_file(services: Services) -> Path:
    """Return the path of the data file of silver."""
    (path,) = services.lake.files(WEB_EVENTS)
    return Path(path.removeprefix("file://"))


def test_a_whole_platform_has_no_fault_in_any_aspect(services: Services) -> None:
    backup = compared_with(BackupSets(services.settings), None, None)
    looked = list(look_at_platform(services, utc_now(), queries={"one": list}, backup=backup))
    assert [one.aspect for one in looked] == ASPECTS
    assert [(one.aspect, one.faults) for one in looked if one.faults] == []
    assert all(one.count > 0 for one in looked)


def replaced(services: Services) -> None:
    """Change one byte of a file in the middle; its size stays."""
    path = data_file(services)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def deleted(services: Services) -> None:
    data_file(services).unlink()


def shortened(services: Services) -> None:
    """Write a file with one row only and the same size."""
    path = data_file(services)
    size, row = path.stat().st_size, pq.read_table(path).slice(0, 1)
    place, padding = row.schema.get_field_index("properties"), 1
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    for _ in range(5):  # the length of the padding has a length itself
        padded = row.set_column(place, row.schema.field("properties"), [["x" * padding]])
        pq.write_table(padded, path, **options)
        padding += size - path.stat().st_size
    assert path.stat().st_size == size


def run_sql(statement: str) -> Callable[[Services], None]:
    def change(services: Services) -> None:
        with services.database.transaction() as connection:
            connection.execute(statement.encode())

    return change


def moved(services: Services) -> None:
    """Put the stream's position where no rows were committed with."""
    text = '{"shards": {"shardId-000000000000": "1"}, "last_files": [], "fence": 0}'
    iceberg = services.lake.iceberg(RAW_EVENTS)
    with iceberg.transaction() as transaction:
        transaction.set_properties({property_name(STREAM): text})


def unarchived(services: Services) -> None:
    shutil.rmtree(services.landing("web_events").location("archive"))


def unheld(services: Services) -> None:
    shutil.rmtree(services.landing("web_events").location("quarantine"))


STRAY = """
    CREATE TABLE stray PARTITION OF performance_data DEFAULT;
    INSERT INTO performance_data (account_id, as_of_date, data_source, reconciliation_status)
    SELECT 'a', DATE '1999-01-01', vendor, 'PENDING' FROM vendors LIMIT 1
"""


@pytest.mark.parametrize(
    ("aspect", "damage", "told"),
    [
        ("lake checksums", replaced, "is not what was backed up"),
        ("lake files", deleted, "has lost 1 files"),
        ("lake partitions", shortened, "rows in partition 2026-11-20, not"),
        ("served partitions", run_sql(STRAY), "1 rows of performance_data lie outside"),
        (
            "conservation ledger",
            run_sql("UPDATE conservation_ledger SET published = 19 WHERE published = 20"),
            "1 records of file",
        ),
        (
            "conservation ledger",
            run_sql("DELETE FROM conservation_ledger WHERE hop = 'bronze_to_silver'"),
            "were published and 0 received",
        ),
        ("positions", moved, "is at another position of the stream"),
        ("delivered files", unarchived, "2 files of the register are not in archive"),
        ("delivered files", unheld, "1 files of the register are not in quarantine"),
        (
            "delivered files",
            run_sql("DELETE FROM etl_processing_log WHERE file_name = 'events_1.ndjson'"),
            "1 archived files are not in the register",
        ),
    ],
)
def test_damage_is_a_fault_of_its_aspect(
    services: Services, aspect: str, damage: Callable[[Services], None], told: str
) -> None:
    damage(services)
    found = look(services)
    assert any(told in one for one in found[aspect]), found


def test_a_query_that_is_not_answered_is_a_fault(services: Services) -> None:
    def ask() -> object:
        raise RuntimeError("no such table")

    *_, queries = look_at_platform(services, utc_now(), queries={"breaches": ask})
    assert queries.faults == ("breaches: no such table",)


def test_a_table_that_the_backup_has_must_be_there(backed_up: BackedUp) -> None:
    def renamed(before: str, after: str) -> None:
        with backed_up.services.database.transaction() as connection:
            connection.execute(f"ALTER TABLE {before} RENAME TO {after}".encode())

    renamed("notes", "other")
    try:
        backup = backed_up.backup
        first = next(
            iter(look_at_platform(backed_up.services, utc_now(), queries={}, backup=backup))
        )
    finally:
        renamed("other", "notes")
    assert first.faults == ("the table platform.public.notes is missing",)


@dataclass
class Restored:
    """How the command ended after a restoration, after damage, and without a backup."""

    well: int
    aspects: list[str]
    damaged: int
    misused: int


@pytest.fixture
def restored(settings: Settings) -> Restored:
    """Lose the lake, restore it, verify it; then damage what came back."""
    shell = Shell(settings.home, settings.database_url.get_secret_value())
    shutil.rmtree(settings.processed_location)
    assert shell("restore", "--all").exit_code == 0
    well = shell("verify", "--after-restore")
    rows = shell.json("verify", "--after-restore")
    next(Path(settings.processed_location).glob("**/data/**/*.parquet")).unlink()
    damaged = shell("verify", "--after-restore").exit_code
    misused = shell("verify", "--backup", "2026-01-01T00-00-00Z-aaaaaa").exit_code
    return Restored(well.exit_code, [one["aspect"] for one in rows], damaged, misused)


def test_the_command_tells_a_whole_platform_from_a_damaged_one(restored: Restored) -> None:
    assert restored == Restored(0, ASPECTS, 1, 2)
