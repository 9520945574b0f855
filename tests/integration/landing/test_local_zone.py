"""What only a local folder can hold: links, pipes, odd bytes, half-written files, leftovers."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from pipeline_platform.failures import NotFoundError, UnavailableError
from pipeline_platform.landing.local_folder import LocalFolder
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.landing.zone import LandingZone, ObjectChangedError, UnsafeNameError
from pipeline_platform.settings import Settings

CONTENT = b"account_id,as_of_date\nA1,2026-10-01\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
SECRET = b"not for the zone"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def zone(settings: Settings) -> LandingZone:
    return LandingZone(settings, "advisory")


@pytest.fixture
def incoming(settings: Settings) -> Path:
    folder = Path(settings.raw_location) / "advisory" / "incoming"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.csv").write_bytes(SECRET)
    return folder


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore.at(f"{settings.raw_location}/advisory", settings)


def everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_link_to_a_file_outside_is_not_claimed(
    zone: LandingZone, incoming: Path, outside: Path
) -> None:
    (incoming / "link.csv").symlink_to(outside / "secret.csv")
    with pytest.raises(UnsafeNameError, match="link"):
        zone.claim("link.csv")


def test_a_link_to_a_file_inside_is_not_claimed_either(zone: LandingZone, incoming: Path) -> None:
    (incoming / "real.csv").write_bytes(CONTENT)
    (incoming / "link.csv").symlink_to("real.csv")
    with pytest.raises(UnsafeNameError):
        zone.claim("link.csv")


def test_a_linked_folder_is_named_but_not_entered(
    zone: LandingZone, incoming: Path, outside: Path
) -> None:
    (incoming / "vendor").symlink_to(outside)
    assert [found.key for found in zone.list("incoming")] == ["vendor"]


def test_a_key_through_a_linked_folder_is_refused(
    zone: LandingZone, incoming: Path, outside: Path
) -> None:
    (incoming / "vendor").symlink_to(outside)
    with pytest.raises(UnsafeNameError):
        zone.claim("vendor/secret.csv")


def test_nothing_is_written_through_a_linked_folder(
    zone: LandingZone, incoming: Path, outside: Path
) -> None:
    (incoming / "vendor").symlink_to(outside)
    with pytest.raises(UnsafeNameError):
        zone.put("vendor/planted.csv", CONTENT)
    assert sorted(path.name for path in outside.iterdir()) == ["secret.csv"]


def test_an_incoming_folder_that_is_a_link_is_refused_loudly(
    zone: LandingZone, settings: Settings, outside: Path
) -> None:
    (Path(settings.raw_location) / "advisory").mkdir(parents=True)
    (Path(settings.raw_location) / "advisory" / "incoming").symlink_to(outside)
    with pytest.raises(UnsafeNameError, match="link"):
        zone.list("incoming")


def test_a_link_is_put_away_as_a_text_that_says_where_it_led(
    zone: LandingZone, incoming: Path, outside: Path
) -> None:
    (incoming / "link.csv").symlink_to(outside / "secret.csv")
    text = Path(zone.quarantine_unclaimable("link.csv", "a link")).read_text()
    assert text == f'This object was no file: symbolic link to "{outside}/secret.csv"\n'


def test_putting_a_link_away_leaves_its_target_alone(
    zone: LandingZone, settings: Settings, incoming: Path, outside: Path
) -> None:
    (incoming / "link.csv").symlink_to(outside / "secret.csv")
    zone.quarantine_unclaimable("link.csv", "a link")
    is_copied = SECRET in everything_below(Path(settings.raw_location))
    assert ((outside / "secret.csv").read_bytes(), is_copied) == (SECRET, False)


def test_a_link_that_leads_nowhere_can_be_put_away(zone: LandingZone, incoming: Path) -> None:
    (incoming / "link.csv").symlink_to(incoming / "nowhere")
    zone.quarantine_unclaimable("link.csv", "a link")
    assert zone.list("incoming") == []


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(
    zone: LandingZone, incoming: Path
) -> None:
    os.mkfifo(incoming / "pipe.csv")
    with pytest.raises(UnsafeNameError):
        zone.claim("pipe.csv")


def test_a_named_pipe_can_be_put_away(zone: LandingZone, incoming: Path) -> None:
    os.mkfifo(incoming / "pipe.csv")
    zone.quarantine_unclaimable("pipe.csv", "a pipe")
    assert zone.list("incoming") == []


@pytest.mark.parametrize("name", [b"bad\xff.csv", b"line\nbreak.csv", b"\x1b[31mred.csv"])
def test_any_bytes_as_a_name_can_be_listed_and_put_away(
    zone: LandingZone, incoming: Path, name: bytes
) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(incoming), name))).write_bytes(CONTENT)  # noqa: PTH118
    [found] = zone.list("incoming")
    zone.quarantine_unclaimable(found.key, "unsafe")
    assert zone.find(SHA) is not None


def test_an_error_about_odd_bytes_can_be_printed(zone: LandingZone, incoming: Path) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(incoming), b"bad\xff\n.csv"))).touch()  # noqa: PTH118
    with pytest.raises(UnsafeNameError) as raised:
        zone.claim(zone.list("incoming")[0].key)
    assert str(raised.value).isascii()
    assert "\n" not in str(raised.value)


def test_the_longest_name_a_file_system_takes_can_be_put_away(
    zone: LandingZone, incoming: Path
) -> None:
    (incoming / ("n" * 255)).write_bytes(CONTENT)
    zone.quarantine_unclaimable("n" * 255, "too long")
    assert zone.list("incoming") == []


def test_a_file_deeper_than_a_path_can_name_is_claimed(zone: LandingZone, incoming: Path) -> None:
    folder = os.open(incoming, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d" * 50, dir_fd=folder)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("deep.csv", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)
    [found] = zone.list("incoming")
    assert zone.claim(found.key).name == "deep.csv"


def test_a_file_that_is_written_while_read_is_told(store: ObjectStore, incoming: Path) -> None:
    (incoming / "growing.csv").write_bytes(b"x" * 3_000_000)
    content = LocalFolder(incoming).stream("growing.csv")
    next(content)
    with (incoming / "growing.csv").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ObjectChangedError, match=r"growing\.csv"):
        list(content)


def _taken_while(store: ObjectStore, incoming: Path, change: str) -> None:
    path = incoming / "busy.csv"
    path.write_bytes(CONTENT)

    def destination(sha256: str) -> str:
        if change == "appended":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "replaced":
            (incoming.parent / "new").write_bytes(b"new version")
            (incoming.parent / "new").rename(path)
        else:
            path.unlink()
        return f"processing/{sha256}/busy.csv"

    store.take("incoming/busy.csv", destination)


@pytest.mark.parametrize(
    ("change", "left"), [("appended", CONTENT + b"more"), ("replaced", b"new version")]
)
def test_a_file_changed_at_the_last_moment_stays_in_incoming(
    store: ObjectStore, incoming: Path, change: str, left: bytes
) -> None:
    with pytest.raises(ObjectChangedError):
        _taken_while(store, incoming, change)
    assert (incoming / "busy.csv").read_bytes() == left


@pytest.mark.parametrize("change", ["appended", "replaced"])
def test_a_file_changed_at_the_last_moment_leaves_nothing_elsewhere(
    store: ObjectStore, zone: LandingZone, incoming: Path, change: str
) -> None:
    with pytest.raises(ObjectChangedError):
        _taken_while(store, incoming, change)
    files = [path for path in incoming.parent.rglob("*") if path.is_file()]
    assert files == [incoming / "busy.csv"]


def test_who_loses_a_claim_leaves_no_copy_behind(store: ObjectStore, incoming: Path) -> None:
    with pytest.raises(NotFoundError):
        _taken_while(store, incoming, "taken by another")
    assert [path for path in incoming.parent.rglob("*") if path.is_file()] == []


def test_a_file_whose_place_can_not_be_written_goes_back_to_incoming(
    zone: LandingZone, incoming: Path
) -> None:
    (incoming / "vendor.csv").write_bytes(CONTENT)
    (incoming.parent / "processing").write_text("a file where a folder should be")
    with pytest.raises((UnsafeNameError, UnavailableError)):
        zone.claim("vendor.csv")
    assert (incoming / "vendor.csv").read_bytes() == CONTENT


def test_recover_finishes_a_claim_that_was_killed_after_it_took_the_file(
    zone: LandingZone, incoming: Path
) -> None:
    released = incoming.parent / ".released" / "token" / "incoming"
    released.mkdir(parents=True)
    (released / "vendor.csv").write_bytes(CONTENT)
    assert [file.key for file in zone.recover()] == [f"{SHA}/vendor.csv"]


def test_recover_puts_away_a_hostile_file_that_a_killed_run_had_taken(
    zone: LandingZone, incoming: Path
) -> None:
    released = incoming.parent / ".released" / "token" / "incoming"
    released.mkdir(parents=True)
    (released / "tab\there.csv").write_bytes(CONTENT)
    assert (zone.recover(), len(zone.list("quarantine"))) == ([], 1)


def test_recover_leaves_nothing_of_a_killed_claim(zone: LandingZone, incoming: Path) -> None:
    released = incoming.parent / ".released" / "token" / "incoming" / "sub"
    released.mkdir(parents=True)
    (released / "vendor.csv").write_bytes(CONTENT)
    zone.recover()
    assert list((incoming.parent / ".released").iterdir()) == []


def test_a_partial_file_of_today_is_left_to_its_writer(zone: LandingZone, incoming: Path) -> None:
    (incoming.parent / ".partial").mkdir()
    (incoming.parent / ".partial" / "young").touch()
    zone.recover()
    assert (incoming.parent / ".partial" / "young").exists()


def test_a_partial_file_of_long_ago_is_removed(
    zone: LandingZone, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (incoming.parent / ".partial").mkdir()
    (incoming.parent / ".partial" / "old").touch()
    two_days_on = time.time() + 2 * 24 * 3600
    monkeypatch.setattr("pipeline_platform.landing.local_folder.time", lambda: two_days_on)
    zone.recover()
    assert not (incoming.parent / ".partial" / "old").exists()


def test_what_is_being_written_is_not_listed(store: ObjectStore, incoming: Path) -> None:
    (incoming.parent / ".partial").mkdir()
    (incoming.parent / ".partial" / "half").write_bytes(b"half")
    assert list(store.list()) == []


def test_the_folders_of_settled_files_are_removed(zone: LandingZone, incoming: Path) -> None:
    zone.put("vendor.csv", CONTENT)
    zone.archive(zone.claim("vendor.csv"))
    assert list((incoming.parent / "processing").iterdir()) == []


def test_a_senders_folder_stays_when_its_file_is_claimed(zone: LandingZone, incoming: Path) -> None:
    (incoming / "vendor_a").mkdir()
    (incoming / "vendor_a" / "daily.csv").write_bytes(CONTENT)
    zone.claim("vendor_a/daily.csv")
    assert (incoming / "vendor_a").is_dir()


def test_a_file_waiting_long_before_its_claim_is_not_shown_as_stuck_in_processing(
    zone: LandingZone, incoming: Path
) -> None:
    (incoming / "vendor.csv").write_bytes(CONTENT)
    os.utime(incoming / "vendor.csv", (0, 0))
    zone.claim("vendor.csv")
    oldest = zone.observe("processing").oldest_modified_at
    assert oldest is not None
    assert oldest.year > 2020


def test_a_file_keeps_the_time_of_its_arrival(zone: LandingZone, incoming: Path) -> None:
    (incoming / "vendor.csv").write_bytes(CONTENT)
    os.utime(incoming / "vendor.csv", ns=(0, 1_700_000_000_123_456_789))
    zone.claim("vendor.csv")
    [file] = zone.recover()
    assert file.arrived_at.timestamp() == 1_700_000_000.123456


def test_a_missing_source_file_of_a_put_is_told(zone: LandingZone, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.csv"):
        zone.put("vendor.csv", tmp_path / "absent.csv")
