"""What only S3 can hold or do: keys that are no paths, pages of keys, multipart, refusals."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.landing.objects import ArchivedObjectError, ObjectStore
from pipeline_platform.landing.zone import LandingZone, ObjectChangedError, UnsafeNameError
from pipeline_platform.settings import Settings
from tests.integration.landing.conftest import Place, s3_place
from tests.integration.landing.local_s3 import s3_client

CONTENT = b"account_id,as_of_date\nA1,2026-10-01\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
HOSTILE_KEYS = ["../up.csv", "x/../../y.csv", "./dot.csv", "a//b.csv", "/lead.csv", "trail/", "../"]


@pytest.fixture
def place(s3_endpoint: str, tmp_path: Path) -> Place:
    return s3_place(s3_endpoint, tmp_path)


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return ObjectStore.at(f"{place.settings.raw_location}/advisory", place.settings)


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_key_that_is_no_path_is_listed_as_it_is(place: Place, key: str) -> None:
    place.deliver(key, CONTENT)
    assert [found.key for found in place.zone.list("incoming")] == [key]


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_key_that_is_no_path_is_not_claimed(place: Place, key: str) -> None:
    place.deliver(key, CONTENT)
    with pytest.raises(UnsafeNameError):
        place.zone.claim(key)


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_key_that_is_no_path_is_put_away_inside_the_zone(place: Place, key: str) -> None:
    place.deliver(key, CONTENT)
    location = place.zone.quarantine_unclaimable(key, "unsafe")
    folder = f"{place.settings.raw_location}/advisory/quarantine/{SHA}/unsafe-"
    assert (location.startswith(folder), place.zone.list("incoming")) == (True, [])


def test_a_hostile_key_touches_no_other_object(place: Place, store: ObjectStore) -> None:
    store.put("up.csv", b"mine")
    place.deliver("../up.csv", CONTENT)
    place.zone.quarantine_unclaimable("../up.csv", "unsafe")
    assert store.read("up.csv") == b"mine"


def test_a_folder_marker_is_no_delivery(place: Place) -> None:
    place.deliver("", b"")
    place.deliver("vendor_a/", b"")
    assert place.zone.list("incoming") == []


def test_a_neighbouring_prefix_is_not_listed(place: Place, store: ObjectStore) -> None:
    store.put("incoming_old/x.csv", CONTENT)
    assert place.zone.list("incoming") == []


def test_a_listing_goes_over_all_pages(place: Place, s3_endpoint: str) -> None:
    client, bucket = s3_client(s3_endpoint), place.settings.raw_location.split("/")[2]
    with ThreadPoolExecutor(4) as senders:
        keys = [f"raw/advisory/incoming/{number}" for number in range(1005)]
        list(senders.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    assert place.zone.observe("incoming").object_count == 1005


def test_a_large_object_goes_through_all_folders_in_parts(place: Place, tmp_path: Path) -> None:
    content = os.urandom(1024 * 1024) * 20
    (tmp_path / "large").write_bytes(content)
    place.zone.put("large.csv", tmp_path / "large")
    claimed = place.zone.claim("large.csv")
    place.zone.archive(claimed)
    with place.zone.local_file(place.zone.restore(claimed.sha256)) as path:
        assert path.read_bytes() == content


def test_an_object_overwritten_while_it_is_claimed_is_told(
    place: Place, store: ObjectStore
) -> None:
    place.deliver("busy.csv", CONTENT)

    def destination(sha256: str) -> str:
        place.deliver("busy.csv", b"new version")
        return f"processing/{sha256}/busy.csv"

    with pytest.raises(ObjectChangedError):
        store.take("incoming/busy.csv", destination)


def test_an_object_overwritten_while_it_is_claimed_is_kept(
    place: Place, store: ObjectStore
) -> None:
    place.deliver("busy.csv", CONTENT)

    def destination(sha256: str) -> str:
        place.deliver("busy.csv", b"new version")
        return f"processing/{sha256}/busy.csv"

    with pytest.raises(ObjectChangedError):
        store.take("incoming/busy.csv", destination)
    assert place.zone.claim("busy.csv").sha256 == hashlib.sha256(b"new version").hexdigest()


def test_no_temporary_file_is_left(place: Place) -> None:
    place.zone.put("vendor.csv", CONTENT)
    with place.zone.local_file(place.zone.claim("vendor.csv")):
        pass
    left = [path for path in Path(place.settings.temp_location).rglob("*") if path.is_file()]
    assert left == []


def test_a_missing_bucket_is_a_wrong_setting(s3_endpoint: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, raw_location="s3://nowhere-to-be", s3_endpoint=s3_endpoint)
    with pytest.raises(InvalidSettingError, match="s3://nowhere-to-be"):
        LandingZone(settings, "advisory").list("incoming")


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_refused_with_its_class_and_what_to_do(
    place: Place, s3_endpoint: str, storage_class: str
) -> None:
    archive(place, s3_endpoint, "vendor.csv", storage_class)
    with pytest.raises(ArchivedObjectError, match=f"vendor.csv.*{storage_class}.*restore"):
        place.zone.claim("vendor.csv")


def test_an_archived_object_can_be_named_as_it_can_not_be_copied(
    place: Place, store: ObjectStore, s3_endpoint: str
) -> None:
    archive(place, s3_endpoint, "vendor.csv", "GLACIER")
    with pytest.raises(ArchivedObjectError):
        store.copy("incoming/vendor.csv", "elsewhere.csv")


def test_an_archived_object_that_was_restored_is_read(place: Place, s3_endpoint: str) -> None:
    bucket = archive(place, s3_endpoint, "vendor.csv", "GLACIER")
    s3_client(s3_endpoint).restore_object(
        Bucket=bucket, Key="raw/advisory/incoming/vendor.csv", RestoreRequest={"Days": 1}
    )
    assert place.zone.claim("vendor.csv").sha256 == SHA


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "GLACIER_IR"])
def test_a_class_that_is_read_at_once_is_read(
    place: Place, s3_endpoint: str, storage_class: str
) -> None:
    archive(place, s3_endpoint, "vendor.csv", storage_class)
    assert place.zone.claim("vendor.csv").sha256 == SHA


def archive(place: Place, s3_endpoint: str, name: str, storage_class: str) -> str:
    """Let a sender put a file into a storage class; return the bucket."""
    bucket = place.settings.raw_location.split("/")[2]
    s3_client(s3_endpoint).put_object(
        Bucket=bucket,
        Key=f"raw/advisory/incoming/{name}",
        Body=CONTENT,
        StorageClass=storage_class,
    )
    return bucket


def test_a_server_that_does_not_answer_is_transient(s3_endpoint: str, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, raw_location="s3://some-bucket", s3_endpoint="http://127.0.0.1:9"
    )
    with pytest.raises(UnavailableError, match="try again"):
        LandingZone(settings, "advisory").list("incoming")


def test_missing_credentials_are_a_wrong_setting(
    s3_endpoint: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(InvalidSettingError):
        LandingZone(place.settings, "advisory").put("vendor.csv", CONTENT)


@pytest.mark.parametrize("location", ["gs://bucket/x", "s3://", "s3:///x", "s3://bucket/a//b"])
def test_a_location_that_is_neither_folder_nor_s3_is_a_wrong_setting(
    location: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettingError, match="neither a local folder"):
        ObjectStore.at(location, Settings(home=tmp_path))
