"""Delivered files are in a backup, each content once, and come back to where they lay (XC-7)."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline_platform.ingestion.withdrawal import withdraw_file
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.recovery.assessment import assess
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.drills import drill
from pipeline_platform.recovery.integrity import compared_with, look_at_platform
from pipeline_platform.recovery.landing_copies import (
    LANDING,
    landing_faults,
    listed,
    lost_deliveries,
    restore_landing,
)
from pipeline_platform.recovery.retention import plan_removal
from pipeline_platform.recovery.steps import Recoverer
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE
from tests.integration.commands.conftest import Shell
from tests.integration.landing.local_s3 import running_server, s3_client, settings_in_s3
from tests.integration.web_events.event_files import deliver, events, ingest
from tests.prepared import PreparedPlatform

Landed = dict[str, tuple[str, int]]


def landed(settings: Settings) -> Landed:
    """Return hash and time (microseconds) of every file of the landing zones, by path."""
    places = {Path(settings.raw_location), Path(settings.archive_location)}
    return {
        str(path.relative_to(settings.home)): (
            sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns // 1000,
        )
        for place in places
        for path in place.rglob("*")
        if path.is_file()
    }


def fill(services: Services) -> None:
    """Have a file in archive, quarantine and incoming, and back them up."""
    deliver(services, "events_1.ndjson", events(20))
    deliver(services, "events_2.ndjson", b"nothing readable\n")
    ingest(RunContext(services, "run"))
    deliver(services, "events_3.ndjson", events(3, prefix="later-"))
    back_up(services)


def back_up(services: Services, seconds: int = 0) -> PlatformBackup:
    """Back up without the database; of two in one second nobody would know which is the newest."""

    def clock():
        return utc_now() + timedelta(seconds=seconds)

    return create_backup(services, reason="test", clock=clock, has_database=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, new_database) -> PreparedPlatform:
    return PreparedPlatform.made(tmp_path_factory.mktemp("landed"), new_database, fill)


@pytest.fixture
def services(prepared: PreparedPlatform) -> Iterator[Services]:
    with Services(prepared.restored()) as opened:
        yield opened


@pytest.fixture
def sets(services: Services) -> BackupSets:
    return BackupSets(services.settings)


def lose(services: Services) -> None:
    """Lose both places with all that lies in them."""
    for place in (services.settings.raw_location, services.settings.archive_location):
        shutil.rmtree(place, ignore_errors=True)


def test_all_folders_are_listed(services: Services, sets: BackupSets) -> None:
    found = listed(sets, sets.newest().landing)
    folders = sorted(one.folder for one in found)
    assert folders == ["archive", "incoming", "quarantine", "quarantine"], "a reason has a file"


def test_a_second_backup_copies_nothing_again(services: Services, sets: BackupSets) -> None:
    before = {one.key: one.modified_at for one in sets.store.list(LANDING)}
    back_up(services, 1)
    assert {one.key: one.modified_at for one in sets.store.list(LANDING)} == before


def test_lost_files_come_back_to_where_they_lay(services: Services) -> None:
    before = landed(services.settings)
    lose(services)
    shell = Shell(services.settings.home, services.settings.database_url.get_secret_value())
    told = shell.json("restore", "--landing")
    assert landed(services.settings) == before
    assert {one["outcome"] for one in told} == {"put back"}


def test_a_dry_run_names_them_and_puts_nothing_back(services: Services) -> None:
    lose(services)
    shell = Shell(services.settings.home, services.settings.database_url.get_secret_value())
    told = shell.json("restore", "--landing", "--dry-run")
    assert ({one["outcome"] for one in told}, landed(services.settings)) == ({"lost"}, {})


def test_the_guided_recovery_puts_them_back(services: Services, sets: BackupSets) -> None:
    before = landed(services.settings)
    lose(services)
    damage = assess(services.settings, sets, utc_now())
    assert damage.in_words()[-1] == f"landing: {PIPELINE} has lost 4 files"
    steps = Recoverer(services.settings, by="test", clock=utc_now, end_runs=lambda: 0)
    begun = steps.begin("lost", database=None, lake=None, at=None, backup_id=None)
    done = {one.step: one.said for one in steps.go_on(begun, until="restore")}
    assert (done["restore"], landed(services.settings)) == (
        ("landing: 4 lost files were put back",),
        before,
    )


def test_a_file_that_was_moved_is_not_lost(services: Services, sets: BackupSets) -> None:
    with services.database.connection() as connection:
        (row,) = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log WHERE status = 'PUBLISHED'"
        ).fetchall()
    withdraw_file(EventFiles(RunContext(services, "take-back")), row[0], "wrong")
    assert lost_deliveries(services, sets, sets.newest().landing, utc_now()) == []


def test_what_the_archive_is_old_enough_to_forget_is_not_lost(
    services: Services, sets: BackupSets
) -> None:
    lose(services)
    later = utc_now() + timedelta(days=10_000)
    assert lost_deliveries(services, sets, sets.newest().landing, later) == []


def test_what_was_lost_stays_in_later_backups_and_is_not_removed(
    services: Services, sets: BackupSets
) -> None:
    lose(services)
    later = back_up(services, 1)
    days = timedelta(days=0)
    going = plan_removal(
        sets, kept_for=days, lake_kept_for=days, kept_count=1, now=utc_now() + timedelta(days=9)
    )
    (kept,) = listed(sets, later.landing)
    assert (kept.folder, kept.key in {one.key for one in going}) == ("archive", False)


def damage_copy(services: Services, sets: BackupSets) -> None:
    (key,) = [one.key for one in listed(sets, sets.newest().landing) if one.folder == "archive"]
    Path(sets.store.location, key).write_bytes(b"damaged")


def test_a_damaged_copy_is_a_fault_of_the_backup(services: Services, sets: BackupSets) -> None:
    damage_copy(services, sets)
    (fault,) = verify_backup(sets, sets.newest(), utc_now()).faults
    assert "is damaged" in fault


def test_a_damaged_copy_is_a_fault_of_a_drill(services: Services, sets: BackupSets) -> None:
    damage_copy(services, sets)
    found = drill(services.settings, sets, sets.newest(), clock=utc_now)
    assert (found.landing_files, "is damaged" in found.faults[0]) == (4, True)


def removed(path: Path) -> None:
    path.unlink()


def overwritten(path: Path) -> None:
    path.write_bytes(b"another")


@pytest.mark.parametrize(
    ("change", "told"),
    [(removed, "is lost (`restore --landing`)"), (overwritten, "is not what was backed up")],
)
def test_after_a_restoration_each_is_looked_for_and_compared(
    services: Services, sets: BackupSets, change: Callable[[Path], None], told: str
) -> None:
    change(next(Path(services.landing(PIPELINE).location("archive")).rglob("*.ndjson")))
    looked = look_at_platform(
        services, utc_now(), queries={}, backup=compared_with(sets, None, None)
    )
    (found,) = [one for one in looked if one.aspect == "delivered files of the backup"]
    assert [told in one for one in found.faults] == [True]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture(params=["Enabled", "Suspended"])
def in_s3(endpoint: str, settings: Settings, request) -> Iterator[tuple[Services, BackupSets]]:
    """A platform whose landing zone is in a bucket, with versions or without, and a backup."""
    bucket = f"landed-{request.param.lower()}"
    client = s3_client(endpoint)
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": request.param})
    there = settings_in_s3(endpoint, settings.home)
    changes = {
        "raw_location": f"s3://{bucket}/raw",
        "archive_location": f"s3://{bucket}/archive",
        "s3_endpoint": there.s3_endpoint,
        "s3_region": there.s3_region,
    }
    with Services(settings.model_copy(update=changes)) as services:
        services.landing(PIPELINE).put("events_1.ndjson", events(3))
        ingest(RunContext(services, "run"))
        back_up(services)
        yield services, BackupSets(services.settings)


def test_a_bucket_is_copied_unless_it_keeps_versions(
    in_s3: tuple[Services, BackupSets], endpoint: str
) -> None:
    services, sets = in_s3
    part = sets.newest().landing
    archive = services.landing(PIPELINE).location("archive")
    bucket = archive.split("/")[2]
    is_versioned = bucket.endswith("enabled")
    copies = [one.key for one in sets.store.list(LANDING) if "/lists/" not in one.key]
    assert (archive in part.versioned, len(copies)) == (is_versioned, 0 if is_versioned else 1)
    assert (part.file_count, landing_faults(sets, part)) == (1, [])
    client = s3_client(endpoint)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    told = [one for one in landing_faults(sets, part) if "kept versions" in one]
    assert len(told) == len(part.versioned)


def test_a_lost_file_comes_back_from_its_copy_or_its_versions(
    in_s3: tuple[Services, BackupSets], endpoint: str
) -> None:
    services, sets = in_s3
    client = s3_client(endpoint)
    bucket = services.landing(PIPELINE).location("archive").split("/")[2]
    (key,) = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
    client.delete_object(Bucket=bucket, Key=key)
    back, gone = restore_landing(services, sets, sets.newest().landing, utc_now())
    assert (len(back), gone) == (1, [])
    assert [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_a_version_with_another_content_is_not_brought_back(endpoint: str, tmp_path: Path) -> None:
    client = s3_client(endpoint)
    client.create_bucket(Bucket="other-content")
    client.put_bucket_versioning(
        Bucket="other-content", VersioningConfiguration={"Status": "Enabled"}
    )
    store = ObjectStore.at("s3://other-content/raw", settings_in_s3(endpoint, tmp_path))
    store.put("a.csv", b"first")
    store.put("a.csv", b"second")
    store.delete("a.csv")
    brought = [store.bring_back("a.csv", sha256(one).hexdigest()) for one in (b"first", b"second")]
    assert (brought, [one.key for one in store.list()]) == ([False, True], ["a.csv"])
