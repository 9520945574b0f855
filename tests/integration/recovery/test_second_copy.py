"""The second place holds whole backups, is filled file by file, and can be restored from."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from pipeline_platform.failures import AuditFailedError, NotFoundError
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.recovery.backup_sets import MANIFEST, BackupSets
from pipeline_platform.recovery.second_copy import copy_backups, second_settings
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import running_server, s3_client
from tests.integration.recovery.conftest import BackedUp


@pytest.fixture
def settings(backed_up: BackedUp, tmp_path: Path) -> Iterator[Settings]:
    there = {"second_backups_location": str(tmp_path / "second")}
    return backed_up.services.settings.model_copy(update=there)


def test_what_was_copied_is_a_whole_backup_without_faults(
    settings: Settings, backed_up: BackedUp
) -> None:
    list(copy_backups(settings, dry_run=False))
    other = BackupSets(second_settings(settings))
    found = other.get(backed_up.backup.id)
    assert verify_backup(other, found, utc_now()).faults == ()


def test_a_bucket_can_be_the_second_place(settings: Settings, tmp_path: Path) -> None:
    with running_server(tmp_path) as endpoint:
        s3_client(endpoint).create_bucket(Bucket="elsewhere")
        there = {"second_backups_location": "s3://elsewhere/backups", "s3_endpoint": endpoint}
        settings = settings.model_copy(update=there)
        list(copy_backups(settings, dry_run=False))
        other = BackupSets(second_settings(settings))
        newest = other.newest("lake")
        assert newest is not None
        assert verify_backup(other, newest, utc_now()).faults == ()


def test_nothing_is_copied_twice(settings: Settings) -> None:
    first = list(copy_backups(settings, dry_run=False))
    again = [one.key for one in copy_backups(settings, dry_run=False)]
    assert (len(first) > 0, [key for key in again if "wal" not in key]) == (True, [])


def test_a_dry_run_writes_nothing(settings: Settings) -> None:
    list(copy_backups(settings, dry_run=True))
    assert not Path(settings.second_backups_location).exists()


def test_half_a_copy_is_no_backup_and_is_completed(settings: Settings, backed_up: BackedUp) -> None:
    list(islice(copy_backups(settings, dry_run=False), 3))
    other = BackupSets(second_settings(settings))
    assert other.ids() == []
    list(copy_backups(settings, dry_run=False))
    assert backed_up.backup.id in other.ids()


def test_manifests_come_last(settings: Settings) -> None:
    keys = [one.key for one in copy_backups(settings, dry_run=True)]
    is_manifest = [key.endswith(MANIFEST) for key in keys]
    assert is_manifest == sorted(is_manifest)


def test_a_file_that_arrives_otherwise_is_removed_and_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ObjectStore.put

    def put(self: ObjectStore, key: str, data: bytes | Path, **more: object) -> None:
        written(self, key, b"broken" if isinstance(data, Path) else data, **more)

    monkeypatch.setattr(ObjectStore, "put", put)
    with pytest.raises(AuditFailedError, match="is not what was copied there"):
        list(copy_backups(settings, dry_run=False))
    second = Path(settings.second_backups_location)
    assert [path for path in second.rglob("*") if path.is_file()] == []


def test_without_a_second_place_it_says_what_to_set(backed_up: BackedUp) -> None:
    with pytest.raises(NotFoundError, match="PLATFORM_SECOND_BACKUPS_LOCATION"):
        list(copy_backups(backed_up.services.settings, dry_run=True))
