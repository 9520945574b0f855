"""A backup is whole, cheap to repeat, says when it is damaged, and goes when it is too old."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.recovery.backup_sets import MANIFEST, BackupSets
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.retention import plan_removal
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse.wal import archiving, segment_of
from tests.integration.recovery.conftest import BackedUp


def files(sets: BackupSets, prefix: str) -> dict[str, int]:
    folder = Path(sets.store.location) / prefix
    return {
        str(one.relative_to(folder)): one.stat().st_mtime_ns
        for one in folder.rglob("*")
        if one.is_file()
    }


def faults(sets: BackupSets, backed_up: BackedUp) -> tuple[str, ...]:
    return verify_backup(sets, backed_up.backup, utc_now()).faults


def test_a_backup_holds_every_database_and_every_table(backed_up: BackedUp) -> None:
    contents = backed_up.backup.database.contents
    assert {name.split(".")[0] for name in contents} == {"platform", "iceberg_catalog"}
    assert contents["platform.public.notes"].rows == 1
    assert {one.identifier: one.row_count for one in backed_up.backup.lake.tables} == {
        ("sample_silver", "balances"): 6,
        ("sample_gold", "totals"): 3,
    }


def test_a_backup_of_a_database_at_rest_is_proved_exactly(backed_up: BackedUp) -> None:
    assert backed_up.backup.database.is_exact


def test_a_whole_backup_has_no_faults(backed_up: BackedUp) -> None:
    assert faults(backed_up.sets, backed_up) == ()


def test_the_log_is_kept_up_to_now(backed_up: BackedUp) -> None:
    with backed_up.services.database.autocommit_connection() as connection:
        found = archiving(connection)
    assert found.is_on
    assert found.recoverable_until > backed_up.between


def test_a_second_backup_copies_no_file_of_the_lake_again(backed_up: BackedUp) -> None:
    before = files(backed_up.sets, "lake")
    create_backup(backed_up.services, reason="again", clock=utc_now, has_database=False)
    assert files(backed_up.sets, "lake") == before


@pytest.mark.parametrize("pattern", ["database/*/base.tar.gz", "lake/**/*.parquet"])
def test_a_changed_file_is_a_fault(backed_up: BackedUp, copied: BackupSets, pattern: str) -> None:
    damaged = next(Path(copied.store.location).glob(pattern))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    (found,) = faults(copied, backed_up)
    assert damaged.name in found


def test_a_file_that_is_gone_is_a_fault(backed_up: BackedUp, copied: BackupSets) -> None:
    next(Path(copied.store.location).glob("lake/**/*.parquet")).unlink()
    assert "missing" in faults(copied, backed_up)[0]


def test_a_piece_of_the_log_that_is_gone_is_a_fault(
    backed_up: BackedUp, copied: BackupSets
) -> None:
    pieces = sorted(Path(copied.log_location).glob("?" * 24 + ".gz"))
    pieces[-2].unlink()
    assert pieces[-2].name.removesuffix(".gz") in faults(copied, backed_up)[0]


def test_a_damaged_backup_is_not_chosen(backed_up: BackedUp, copied: BackupSets) -> None:
    next(Path(copied.store.location).glob("database/*/base.tar.gz")).unlink()
    faults(copied, backed_up)
    with pytest.raises(NotFoundError, match="no sound backup of the database"):
        copied.chosen(None, "database")


def test_without_its_manifest_it_is_no_backup(backed_up: BackedUp, copied: BackupSets) -> None:
    (Path(copied.store.location) / "sets" / backed_up.backup.id / MANIFEST).unlink()
    assert backed_up.backup.id not in copied.ids()


def test_a_broken_manifest_is_named(backed_up: BackedUp, copied: BackupSets) -> None:
    path = Path(copied.store.location) / "sets" / backed_up.backup.id / MANIFEST
    path.write_text(path.read_text()[:-40])
    with pytest.raises(PermanentError, match=r"manifest\.json is damaged"):
        copied.get(backed_up.backup.id)


removal = partial(plan_removal, kept_for=timedelta(days=7), lake_kept_for=timedelta(days=1))


def doomed(sets: BackupSets, backed_up: BackedUp, *, days: int, kept_count: int) -> set[str]:
    now = backed_up.backup.ended_at + timedelta(days=days)
    plan = removal(sets, now=now, kept_count=kept_count)
    return {one.key.split("/")[0] for one in plan if not one.is_log}


def test_nothing_of_a_young_backup_goes(backed_up: BackedUp, copied: BackupSets) -> None:
    now = backed_up.backup.ended_at + timedelta(days=6)
    of_the_lake_alone = {one.id for one in copied.all() if one.database is None}
    plan = removal(copied, now=now, kept_count=0)
    assert {one.key.split("/")[1] for one in plan if not one.is_log} <= of_the_lake_alone


def test_the_log_before_the_oldest_base_backup_goes(
    backed_up: BackedUp, copied: BackupSets
) -> None:
    plan = removal(copied, now=utc_now(), kept_count=1)
    first = segment_of(1, backed_up.backup.database.log.start_lsn)
    assert {one.key[:24] for one in plan if one.is_log} == {
        one.name[:24] for one in Path(copied.log_location).iterdir() if one.name[:24] < first
    }


def test_an_old_backup_goes_whole(backed_up: BackedUp, copied: BackupSets) -> None:
    gone = doomed(copied, backed_up, days=400, kept_count=0)
    assert gone == {"sets", "database", "lake", "landing"}


def test_the_newest_backup_stays_however_old_it_is(backed_up: BackedUp, copied: BackupSets) -> None:
    assert "database" not in doomed(copied, backed_up, days=400, kept_count=1)


def test_what_a_killed_backup_left_goes(backed_up: BackedUp, copied: BackupSets) -> None:
    copied.store.put("sets/2026-01-01T01-00-00Z-000000/lake/a.b.json", b"{}")
    copied.store.put("database/2026-01-01T01-00-00Z-000000/base.tar.gz", b"half")
    copied.store.put("lake/sample_silver/balances/x/data/half.parquet", b"half")
    plan = removal(copied, now=backed_up.backup.ended_at, kept_count=1)
    assert {one.key for one in plan if not one.is_log} == {
        "sets/2026-01-01T01-00-00Z-000000/lake/a.b.json",
        "database/2026-01-01T01-00-00Z-000000/base.tar.gz",
        "lake/sample_silver/balances/x/data/half.parquet",
    }
