"""A lost database comes back to an instant, a lost lake with its catalog, one table alone."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline_platform.failures import BadInputError, UnavailableError
from pipeline_platform.lake.restoration import compare_with_export, restore_from_export
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.restoration import (
    lake_tables,
    restore_database,
    restore_lake,
    target_of,
)
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.physical_backup import Target
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.stops import EVERYTHING, stops
from tests.integration.recovery.conftest import (
    BALANCES,
    MONTHS,
    TOTALS,
    BackedUp,
    note,
    notes,
    publish,
    rows_of,
)

REPLACED_EARLIER = "data.replaced-2026-11-01T00-00-00"


@pytest.fixture(scope="module")
def elsewhere(backed_up: BackedUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Bring the database back to the instant between two changes, on a machine without anything."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(backed_up.settings.backups_location, folder / "home" / "backups")
    settings = Settings(home=folder / "home", environment="test")
    files = ServerFiles(settings.home)
    files.prepare()
    files.data.with_name(REPLACED_EARLIER).mkdir()
    target = target_of(backed_up.backup, backed_up.between)
    try:
        restored = restore_database(
            settings, BackupSets(settings), backed_up.backup, target, by="test"
        )
        assert "same counts and checksums" in restored.proof
        with Services(settings) as services:
            yield services
    finally:
        embedded.stop(settings)


def test_the_database_comes_back_to_an_instant(elsewhere: Services) -> None:
    assert notes(elsewhere) == ["before", "kept"]


def test_what_an_earlier_restoration_replaced_stays(elsewhere: Services) -> None:
    assert ServerFiles(elsewhere.settings.home).data.with_name(REPLACED_EARLIER).exists()


def test_nothing_runs_on_a_restored_database_before_somebody_resumes_it(
    elsewhere: Services,
) -> None:
    with elsewhere.database.connection() as connection:
        assert EVERYTHING in stops(connection)


def test_the_lake_comes_back_elsewhere_with_its_catalog(
    backed_up: BackedUp, elsewhere: Services
) -> None:
    done = restore_lake(
        elsewhere,
        BackupSets(elsewhere.settings),
        backed_up.backup,
        location=elsewhere.settings.processed_location,
    )
    assert {one.outcome for one in done} == {"rebuilt"}
    assert all(path.startswith(elsewhere.settings.processed_location)
               for path in elsewhere.lake.files(BALANCES))  # fmt: skip
    for table in (BALANCES, TOTALS):
        assert rows_of(elsewhere, table) == rows_of(backed_up.services, table)


def test_a_rebuilt_table_is_the_same_snapshot_and_takes_new_rows(
    backed_up: BackedUp, elsewhere: Services
) -> None:
    sets, root = BackupSets(elsewhere.settings), elsewhere.settings.processed_location
    restore_lake(elsewhere, sets, backed_up.backup, location=root)
    last = elsewhere.lake.last_publication(BALANCES)
    assert last.snapshot_id == backed_up.services.lake.last_publication(BALANCES).snapshot_id
    assert last.properties["position"] == "100"
    publish(elsewhere, BALANCES, "2026-11-01", 300, "run after the restoration")
    assert len(rows_of(elsewhere, BALANCES)) == 9


def test_an_instant_before_the_backup_is_refused(backed_up: BackedUp) -> None:
    with pytest.raises(BadInputError, match="choose an older backup"):
        target_of(backed_up.backup, backed_up.backup.began_at - timedelta(hours=1))


def test_a_copy_that_is_not_what_it_was_changes_nothing(
    backed_up: BackedUp, copied: BackupSets
) -> None:
    for piece in Path(copied.log_location).iterdir():
        piece.unlink()
    with pytest.raises(UnavailableError, match="could not be brought back"):
        restore_database(copied.settings, copied, backed_up.backup, Target(), by="test")
    assert not (copied.settings.home / "postgres" / "data").exists()


@dataclass
class OwnLake:
    """A lake of the test alone, on a database by URL, and its backup."""

    services: Services
    sets: BackupSets
    backup: PlatformBackup

    @property
    def folder(self) -> Path:
        return Path(self.services.settings.processed_location)

    def restore(self) -> dict[str, str]:
        done = restore_lake(self.services, self.sets, self.backup)
        return {one.identifier[1]: one.outcome for one in done}


@pytest.fixture
def own(settings: Settings) -> Iterator[OwnLake]:
    with Services(settings) as services:
        for month in MONTHS:
            publish(services, BALANCES, month, 100, f"run of {month}")
        publish(services, TOTALS, MONTHS[0], 900, "run of totals")
        backup = create_backup(services, reason="test", clock=utc_now, has_database=False)
        yield OwnLake(services, BackupSets(settings), backup)


def test_a_lost_lake_comes_back_with_nothing_lost(own: OwnLake) -> None:
    before = rows_of(own.services, BALANCES)
    shutil.rmtree(own.folder)
    assert own.restore() == {"balances": "mended", "totals": "mended"}
    assert rows_of(own.services, BALANCES) == before


def test_what_was_published_after_the_backup_is_lost_with_the_lake(own: OwnLake) -> None:
    before = rows_of(own.services, BALANCES)
    publish(own.services, BALANCES, MONTHS[1], 500, "later run")
    shutil.rmtree(own.folder)
    assert own.restore() == {"balances": "rebuilt", "totals": "mended"}
    assert rows_of(own.services, BALANCES) == before


def test_one_lost_file_is_put_back_and_later_rows_stay(own: OwnLake) -> None:
    publish(own.services, BALANCES, "2026-11-01", 500, "later run")
    before = rows_of(own.services, BALANCES)
    next(own.folder.glob(f"sample_silver/balances/**/*{MONTHS[0]}*/*.parquet")).unlink()
    assert own.restore() == {"balances": "mended", "totals": "untouched"}
    assert rows_of(own.services, BALANCES) == before


def test_a_table_that_lost_nothing_is_left_alone(own: OwnLake) -> None:
    publish(own.services, BALANCES, MONTHS[1], 500, "later run")
    assert own.restore() == {"balances": "untouched", "totals": "untouched"}


def test_a_partition_comes_back_from_a_backup_in_one_commit(own: OwnLake) -> None:
    before = rows_of(own.services, BALANCES)
    for month in MONTHS:
        publish(own.services, BALANCES, month, 500, f"bad run of {month}")
    (kept,) = lake_tables(own.backup, [BALANCES.identifier])
    given = (own.services.lake, BALANCES, own.sets.export(kept), own.sets.store)
    october = date.fromisoformat(MONTHS[1])
    difference = compare_with_export(*given, partition=october)
    assert (difference.rows_lost, difference.rows_regained) == (3, 3)
    restore_from_export(*given, partition=october, run_id="restoration")
    now = rows_of(own.services, BALANCES)
    assert [row for row in now if row[1] == october] == [row for row in before if row[1] == october]
    assert [row[2] for row in now if row[1] != october] == [500, 501, 502]


def test_a_dump_of_a_server_that_is_not_ours_comes_back(settings: Settings) -> None:
    with Services(settings) as services:
        with services.database.transaction() as connection:
            connection.execute("CREATE TABLE notes (text text)")
        note(services, "before")
        backup = create_backup(services, reason="test", clock=utc_now)
        note(services, "mistake")
        sets = BackupSets(settings)
        assert verify_backup(sets, backup, utc_now()).faults == ()
        restored = restore_database(settings, sets, backup, target_of(backup, None), by="test")
        assert "same counts and checksums" in restored.proof
        assert notes(services) == ["before"]


def test_no_instant_is_promised_of_a_server_that_is_not_ours(settings: Settings) -> None:
    with Services(settings) as services:
        backup = create_backup(services, reason="test", clock=utc_now)
    with pytest.raises(BadInputError, match="whose log the platform does not keep"):
        target_of(backup, utc_now())
