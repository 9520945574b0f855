"""The landing zone's rules, the same on a local folder and on S3 over HTTP."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_platform.failures import (
    BadInputError,
    InvalidSettingError,
    NotFoundError,
    TransientError,
)
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.landing.zone import (
    ClaimedFile,
    DamagedObjectError,
    LandingZone,
    ObjectChangedError,
    UnsafeNameError,
)
from pipeline_platform.settings import Settings
from tests.integration.landing.conftest import Place, local_place
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS, s3_client

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

CONTENT = b"account_id,as_of_date\nA1,2026-10-01\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
CLAIMABLE_NAMES = [
    'it\'s "quoted".csv',
    "über ⅷ 日本.csv",
    "e\u0301 decomposed.csv",
    " spaces around .csv",
    "100%.csv",
    "%2e%2e%2fescaped.csv",
    "a+b&c=d;e#f?g.csv",
    "part#12",
    "back\\slash.csv",
    "*.csv",
    "$(touch x) `y` | z.csv",
    "-rf",
    "...",
    ".hidden",
    "n" * 240,
]
UNCLAIMABLE_NAMES = ["tab\there.csv", "bell\x07.csv", "n" * 250, "x.reason.txt", "\u202egpj.csv"]


def raw_store(place: Place) -> ObjectStore:
    return ObjectStore.at(f"{place.settings.raw_location}/advisory", place.settings)


def names(zone: LandingZone, folder: str) -> list[str]:
    return [found.key for found in zone.list(folder)]


def test_a_file_put_into_the_zone_waits_in_incoming(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    assert names(zone, "incoming") == ["vendor.csv"]


def test_a_file_can_be_put_from_a_path(zone: LandingZone, tmp_path: Path) -> None:
    (tmp_path / "delivered").write_bytes(CONTENT)
    zone.put("vendor.csv", tmp_path / "delivered")
    assert zone.claim("vendor.csv").sha256 == SHA


def test_an_empty_zone_lists_nothing(zone: LandingZone) -> None:
    assert [zone.list(folder) for folder in ("incoming", "processing", "archive")] == [[], [], []]


def test_a_claim_identifies_the_file_by_its_content(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    assert (claimed.name, claimed.sha256, claimed.size_bytes, claimed.key) == (
        "vendor.csv",
        SHA,
        len(CONTENT),
        f"{SHA}/vendor.csv",
    )


def test_a_claim_moves_the_file_to_processing(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    zone.claim("vendor.csv")
    assert (names(zone, "incoming"), names(zone, "processing")) == ([], [f"{SHA}/vendor.csv"])


def test_an_empty_file_can_be_claimed(zone: LandingZone) -> None:
    zone.put("empty.csv", b"")
    assert zone.claim("empty.csv").size_bytes == 0


def test_a_claim_says_when_the_file_arrived(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    arrived_at = zone.list("incoming")[0].modified_at
    assert zone.claim("vendor.csv").arrived_at == arrived_at


def test_a_file_in_a_subfolder_is_claimed_under_its_own_name(place: Place) -> None:
    place.deliver("vendor_a/2026/daily.csv", CONTENT)
    assert place.zone.claim("vendor_a/2026/daily.csv").name == "daily.csv"


def test_a_name_that_comes_again_with_other_content_is_another_object(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    first = zone.claim("vendor.csv")
    zone.put("vendor.csv", b"corrected")
    second = zone.claim("vendor.csv")
    assert sorted(names(zone, "processing")) == sorted([first.key, second.key])


def test_the_same_content_under_two_names_is_two_files(zone: LandingZone) -> None:
    zone.put("one.csv", CONTENT)
    zone.put("two.csv", CONTENT)
    zone.archive(zone.claim("one.csv"))
    zone.archive(zone.claim("two.csv"))
    assert sorted(names(zone, "archive")) == [f"{SHA[:2]}/{SHA}/{n}.csv" for n in ("one", "two")]


def test_claiming_a_file_that_is_not_there_says_so(zone: LandingZone) -> None:
    with pytest.raises(NotFoundError, match=r'"incoming/absent\.csv"'):
        zone.claim("absent.csv")


def test_a_claim_is_repeated_after_a_kill_that_left_both_copies(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    first = zone.claim("vendor.csv")
    zone.put("vendor.csv", CONTENT)
    assert (zone.claim("vendor.csv").key, names(zone, "processing")) == (first.key, [first.key])


def test_recover_returns_what_lies_in_processing(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    assert zone.recover() == [claimed]


def test_recover_keeps_the_time_of_arrival_through_a_restore(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    zone.quarantine(claimed, "bad")
    zone.restore(SHA)
    assert zone.recover() == [claimed]


def test_a_local_file_holds_the_content_and_no_copy_is_left(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    with place.zone.local_file(place.zone.claim("vendor.csv")) as path:
        read = path.read_bytes()
    is_copy = "processing" not in path.parts
    assert (read, path.exists()) == (CONTENT, not is_copy)


def test_a_local_file_of_damaged_content_is_refused(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    claimed = place.zone.claim("vendor.csv")
    raw_store(place).put(f"processing/{claimed.key}", b"damaged")
    with (
        pytest.raises(DamagedObjectError, match=r"vendor\.csv"),
        place.zone.local_file(claimed),
    ):
        pass


def test_a_damaged_file_can_still_go_to_quarantine(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    claimed = place.zone.claim("vendor.csv")
    raw_store(place).put(f"processing/{claimed.key}", b"damaged")
    place.zone.quarantine(claimed, "damaged")
    assert names(place.zone, "quarantine") == [claimed.key]


def test_archive_returns_where_the_file_lies(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    location = place.zone.archive(place.zone.claim("vendor.csv"))
    expected = f"{place.settings.archive_location}/advisory/{SHA[:2]}/{SHA}/vendor.csv"
    assert location == expected


def test_a_local_file_moves_into_the_archive_without_being_copied(tmp_path: Path) -> None:
    place = local_place(tmp_path)
    place.zone.put("vendor.csv", CONTENT)
    claimed = place.zone.claim("vendor.csv")
    with place.zone.local_file(claimed) as path:
        before = path.stat().st_ino
    assert Path(place.zone.archive(claimed)).stat().st_ino == before


def test_a_local_file_is_copied_where_a_second_name_is_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    place = local_place(tmp_path)
    place.zone.put("vendor.csv", CONTENT)
    claimed = place.zone.claim("vendor.csv")
    monkeypatch.setattr(os, "link", refused)
    assert Path(place.zone.archive(claimed)).read_bytes() == CONTENT


def test_archive_leaves_processing_empty(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    zone.archive(zone.claim("vendor.csv"))
    assert names(zone, "processing") == []


def test_archive_can_be_repeated(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    assert zone.archive(claimed) == zone.archive(claimed)


def test_quarantine_can_be_repeated(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    assert zone.quarantine(claimed, "bad") == zone.quarantine(claimed, "bad")


def test_archiving_a_file_that_is_nowhere_says_so(zone: LandingZone) -> None:
    with pytest.raises(NotFoundError):
        zone.archive(ClaimedFile("x.csv", SHA, 1, datetime.now(UTC), f"{SHA}/x.csv"))


def test_quarantine_writes_the_reason_beside_the_file(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    place.zone.quarantine(place.zone.claim("vendor.csv"), "Its header is missing.")
    text = raw_store(place).read(f"quarantine/{SHA}/vendor.csv.reason.txt").decode()
    assert text == 'Its header is missing.\nOriginal name: "vendor.csv"\n'


def test_quarantine_does_not_list_reasons_as_objects(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    zone.quarantine(zone.claim("vendor.csv"), "bad")
    assert names(zone, "quarantine") == [f"{SHA}/vendor.csv"]


def test_restore_moves_a_quarantined_file_back(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    zone.quarantine(claimed, "bad")
    assert (zone.restore(SHA), names(zone, "quarantine")) == (claimed, [])


def test_restore_copies_an_archived_file(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    zone.archive(claimed)
    assert (zone.restore(SHA), len(names(zone, "archive"))) == (claimed, 1)


def test_restore_can_be_repeated(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    zone.quarantine(zone.claim("vendor.csv"), "bad")
    assert zone.restore(SHA) == zone.restore(SHA)


def test_restore_takes_the_name_that_is_asked_for(zone: LandingZone) -> None:
    for name in ("one.csv", "two.csv"):
        zone.put(name, CONTENT)
        zone.archive(zone.claim(name))
    assert zone.restore(SHA, "two.csv").name == "two.csv"


def test_restoring_an_unknown_hash_says_so(zone: LandingZone) -> None:
    with pytest.raises(NotFoundError, match="SHA-256"):
        zone.restore("../../etc")


def test_find_prefers_the_archive_to_a_duplicate_in_quarantine(zone: LandingZone) -> None:
    zone.put("one.csv", CONTENT)
    zone.archive(zone.claim("one.csv"))
    zone.put("two.csv", CONTENT)
    zone.quarantine(zone.claim("two.csv"), "duplicate")
    found = zone.find(SHA)
    assert found is not None
    assert found[0] == "archive"


def test_find_of_an_unknown_content_is_none(zone: LandingZone) -> None:
    assert zone.find("0" * 64) is None


def test_tail_lists_the_newest(place: Place) -> None:
    for number in range(3):
        if number:
            time.sleep(1.05 if place.settings.s3_endpoint else 0.02)
        place.zone.put(f"{number}.csv", b"x")
    assert [found.key for found in place.zone.list("incoming", tail=2)] == ["1.csv", "2.csv"]


def test_a_tail_longer_than_the_folder_is_the_folder(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    assert len(zone.list("incoming", tail=10)) == 1


def test_a_tail_of_zero_is_empty(zone: LandingZone) -> None:
    zone.put("vendor.csv", CONTENT)
    assert zone.list("incoming", tail=0) == []


def test_observe_counts_objects_bytes_and_finds_the_oldest(zone: LandingZone) -> None:
    zone.put("one.csv", b"12345")
    zone.put("two.csv", b"123")
    state = zone.observe("incoming")
    oldest = zone.list("incoming")[0].modified_at
    assert (state.object_count, state.total_bytes, state.oldest_modified_at) == (2, 8, oldest)


def test_an_unknown_folder_is_told(zone: LandingZone) -> None:
    with pytest.raises(NotFoundError, match="incoming, processing, archive, quarantine"):
        zone.list("outgoing")


def test_present_returns_only_what_still_waits(zone: LandingZone) -> None:
    zone.put("here.csv", CONTENT)
    assert [found.key for found in zone.present(["here.csv", "gone.csv", "../up"])] == ["here.csv"]


@pytest.mark.parametrize("name", CLAIMABLE_NAMES)
def test_an_unusual_name_is_claimed_and_archived_as_it_is(place: Place, name: str) -> None:
    place.deliver(name, CONTENT)
    place.zone.archive(place.zone.claim(place.zone.list("incoming")[0].key))
    assert names(place.zone, "archive") == [f"{SHA[:2]}/{SHA}/{name}"]


@pytest.mark.parametrize("name", UNCLAIMABLE_NAMES)
def test_a_hostile_name_is_refused_by_a_claim(place: Place, name: str) -> None:
    place.deliver(name, CONTENT)
    with pytest.raises(UnsafeNameError):
        place.zone.claim(place.zone.list("incoming")[0].key)


@pytest.mark.parametrize("name", UNCLAIMABLE_NAMES)
def test_a_hostile_name_is_put_away_with_its_content(place: Place, name: str) -> None:
    place.deliver(name, CONTENT)
    place.zone.quarantine_unclaimable(place.zone.list("incoming")[0].key, "unsafe")
    assert (names(place.zone, "incoming"), place.zone.restore(SHA).sha256) == ([], SHA)


@pytest.mark.parametrize("name", UNCLAIMABLE_NAMES)
def test_a_hostile_name_is_recorded_in_the_reason(place: Place, name: str) -> None:
    place.deliver(name, CONTENT)
    location = place.zone.quarantine_unclaimable(name, "unsafe")
    key = location.removeprefix(f"{place.settings.raw_location}/advisory/")
    text = raw_store(place).read(f"{key}.reason.txt").decode()
    assert json.loads(text.split("Original name: ")[1]) == name


def test_putting_away_can_be_repeated(place: Place) -> None:
    place.deliver("tab\there", CONTENT)
    first = place.zone.quarantine_unclaimable("tab\there", "unsafe")
    assert place.zone.quarantine_unclaimable("tab\there", "unsafe") == first


def test_one_hostile_name_does_not_hide_the_others(place: Place) -> None:
    for name in (*UNCLAIMABLE_NAMES, "good.csv"):
        place.deliver(name, CONTENT)
    assert sorted(names(place.zone, "incoming")) == sorted([*UNCLAIMABLE_NAMES, "good.csv"])


@pytest.mark.parametrize(
    "key",
    ["../outside.csv", "a/../../outside.csv", "/etc/passwd", "", ".", "a//b", "a/", "a\0b", "a\nb"],
)
def test_a_key_that_would_leave_the_zone_is_refused(zone: LandingZone, key: str) -> None:
    with pytest.raises(UnsafeNameError):
        zone.claim(key)


@pytest.mark.parametrize(
    "name", ["../outside.csv", "/tmp/landing-escape.csv", "x.reason.txt", "a\nb"]
)
def test_nothing_can_be_put_under_an_unsafe_name(zone: LandingZone, name: str) -> None:
    with pytest.raises(UnsafeNameError):
        zone.put(name, CONTENT)


def test_a_pipeline_name_can_not_leave_the_raw_location(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError):
        LandingZone(Settings(home=tmp_path), "../other")


def test_an_unsafe_name_is_bad_input_and_a_change_is_transient() -> None:
    assert issubclass(UnsafeNameError, BadInputError)
    assert issubclass(ObjectChangedError, TransientError)


def test_of_several_threads_claiming_one_file_one_wins(place: Place) -> None:
    place.zone.put("contested.csv", CONTENT)
    barrier, results = threading.Barrier(4), []

    def contend() -> None:
        own = LandingZone(place.settings, "advisory")
        own.list("incoming")
        barrier.wait()
        try:
            results.append(own.claim("contested.csv").sha256)
        except (NotFoundError, TransientError) as error:
            results.append(type(error).__name__)

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results.count(SHA), len(results)) == (1, 4)


def _begin_with(barrier: threading.Barrier) -> None:
    """Let a process know when to begin, and what S3 asks for."""
    os.environ.update(MADE_UP_CREDENTIALS)
    _claim_in_process.barrier = barrier


def _claim_in_process(settings: Settings, key: str) -> str:
    zone = LandingZone(settings, "advisory")
    zone.list("incoming")
    _claim_in_process.barrier.wait(30)
    try:
        return zone.claim(key).sha256
    except (NotFoundError, TransientError) as error:
        return type(error).__name__


def test_of_two_processes_claiming_one_file_one_wins(place: Place) -> None:
    place.zone.put("contested.csv", CONTENT * 1000)
    with PROCESSES.Pool(2, _begin_with, (PROCESSES.Barrier(2),)) as pool:
        arguments = (place.settings, "contested.csv")
        claims = [pool.apply_async(_claim_in_process, arguments) for _ in range(2)]
        outcomes = [claim.get(30) for claim in claims]
    assert sorted(len(outcome) == 64 for outcome in outcomes) == [False, True]


def test_whatever_a_sender_writes_meanwhile_a_claim_holds_one_whole_version(place: Place) -> None:
    versions = [bytes([letter]) * 300_000 for letter in b"abcdef"]
    known = {hashlib.sha256(version).hexdigest() for version in versions}
    done, chance = threading.Event(), random.Random(7)

    def keep_sending() -> None:
        while not done.is_set():
            place.zone.put("busy.csv", chance.choice(versions))
            time.sleep(chance.uniform(0, 0.15))

    sender = threading.Thread(target=keep_sending)
    sender.start()
    claimed: set[ClaimedFile] = set()
    refused = 0
    end = time.monotonic() + 2
    while time.monotonic() < end and (len(claimed) < 4 or refused < 3):
        try:
            claimed.add(place.zone.claim("busy.csv"))
        except ObjectChangedError:
            refused += 1
        except NotFoundError:
            time.sleep(0.002)
    done.set()
    sender.join()
    contents = set()
    for file in claimed:
        with place.zone.local_file(file) as path:
            contents.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert contents
    assert contents <= known


def test_raw_and_archive_may_be_of_different_kinds(
    s3_endpoint: str, place: Place, tmp_path: Path
) -> None:
    is_local = place.settings.s3_endpoint is None
    other = "s3://elsewhere/archive" if is_local else str(tmp_path / "archive")
    if is_local:
        s3_client(s3_endpoint).create_bucket(Bucket="elsewhere")
    settings = place.settings.model_copy(
        update={"archive_location": other, "s3_endpoint": s3_endpoint}
    )
    zone = LandingZone(settings, "advisory")
    zone.put("vendor.csv", CONTENT)
    claimed = zone.claim("vendor.csv")
    zone.archive(claimed)
    assert zone.restore(SHA) == claimed


def test_raw_and_archive_may_share_one_location(place: Place) -> None:
    settings = place.settings.model_copy(update={"archive_location": place.settings.raw_location})
    zone = LandingZone(settings, "advisory")
    zone.put("waiting.csv", b"1")
    zone.put("done.csv", CONTENT)
    zone.archive(zone.claim("done.csv"))
    assert names(zone, "archive") == [f"{SHA[:2]}/{SHA}/done.csv"]
