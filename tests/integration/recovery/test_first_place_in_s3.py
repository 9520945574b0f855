"""An object store as the first place of backups: made, listed, verified and restored from it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import archive_wal, embedded
from pipeline_platform.warehouse.server_files import ServerFiles
from pipeline_platform.warehouse.stops import EVERYTHING, stops
from pipeline_platform.warehouse.wal import keep_all
from tests.integration.landing.local_s3 import running_server, s3_client
from tests.integration.recovery.conftest import (
    BALANCES,
    fill,
    note,
    notes,
    platform,
    rows_of,
)

BUCKET = "first"


@dataclass
class Place:
    """A platform whose backups are in a bucket, and the commands on it."""

    settings: Settings
    endpoint: str

    def __call__(self, *words: str) -> Result:
        told = CliRunner().invoke(app, list(words), env=self.settings.to_env())
        assert told.exit_code == 0, told.output
        return told

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def keys(self, prefix: str) -> list[str]:
        listed = s3_client(self.endpoint).list_objects_v2(Bucket=BUCKET, Prefix=f"kept/{prefix}")
        return [one["Key"] for one in listed.get("Contents", [])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A platform with a row in the database and three in the lake, and nothing backed up."""
    folder = tmp_path_factory.mktemp("first_place")
    with running_server(folder) as endpoint:
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        kept = f"s3://{BUCKET}/kept"
        with platform(folder, backups_location=kept, s3_endpoint=endpoint) as settings:
            with Services(settings) as services:
                fill(services)
                note(services, "before")
            yield Place(settings, endpoint)


@pytest.fixture(scope="module")
def backup(place: Place) -> dict[str, Any]:
    """The backup as the command told it; then the database is changed once more."""
    made = place.json("backup", "create", "--reason", "test")
    with Services(place.settings) as services:
        note(services, "after")
        with services.database.autocommit_connection() as connection:
            keep_all(connection)
    return made


def test_the_bucket_holds_database_lake_log_and_manifest(place: Place, backup: Any) -> None:
    kinds = {key.split("/")[1] for key in place.keys("")}
    assert kinds == {"database", "lake", "landing", "sets", "wal"}


def test_nothing_of_it_lies_in_the_home_folder(place: Place, backup: Any) -> None:
    assert not (place.settings.home / "backups").exists()


def test_it_is_listed(place: Place, backup: Any) -> None:
    found = [(one["backup"], one["reason"]) for one in place.json("backup", "list")]
    assert found == [(backup["backup"], "test")]


def test_it_is_verified(place: Place, backup: Any) -> None:
    assert place.json("backup", "verify")["faults"] == []


@pytest.fixture(scope="module")
def restored(place: Place, backup: Any) -> Iterator[Services]:
    """Database and lake after both were lost and brought back."""
    embedded.stop(place.settings)
    shutil.rmtree(ServerFiles(place.settings.home).data)
    shutil.rmtree(place.settings.processed_location)
    place("restore", "--database")
    place("restore", "--all")
    with Services(place.settings) as services:
        yield services


def test_the_database_comes_back_to_its_newest_change(restored: Services) -> None:
    assert notes(restored) == ["after", "before"]


def test_the_lake_comes_back(restored: Services) -> None:
    assert [row[2] for row in rows_of(restored, BALANCES)] == [100, 101, 102]


def test_everything_is_stopped_until_somebody_resumes_it(restored: Services) -> None:
    with restored.database.connection() as connection:
        assert EVERYTHING in stops(connection)


def test_the_whole_lake_comes_back_in_another_bucket_with_its_catalog(
    restored: Services, place: Place
) -> None:
    """SW-50."""
    elsewhere = f"s3://{BUCKET}/disaster"
    before = rows_of(restored, BALANCES)
    told = place("restore", "--all", "--to", elsewhere, "--json")
    assert {one["outcome"] for one in json.loads(told.stdout)} == {"rebuilt"}
    assert "set PLATFORM_PROCESSED_LOCATION to it" in told.stderr
    moved = place.settings.model_copy(update={"processed_location": elsewhere})
    with Services(moved) as services:
        assert rows_of(services, BALANCES) == before
        files = services.lake.files(BALANCES)
    assert {file.startswith(f"{elsewhere}/") for file in files} == {True}


def test_a_damaged_object_is_a_fault(restored: Services, place: Place, backup: Any) -> None:
    """Last of this module."""
    (key, *_) = [one for one in place.keys("lake/") if Path(one).suffix == ".parquet"]
    s3_client(place.endpoint).put_object(Bucket=BUCKET, Key=key, Body=b"broken")
    told = CliRunner().invoke(
        app, ["backup", "verify", backup["backup"], "--json"], env=place.settings.to_env()
    )
    assert told.exit_code == 1
    assert Path(key).name in json.loads(told.stdout)["faults"][0]


def test_keeping_a_piece_of_the_log_leaves_nothing_on_the_machine(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece, scratch = tmp_path / "piece", tmp_path / "scratch"
    piece.write_bytes(b"changes")
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    archive_wal.store(f"s3://{BUCKET}/other", "A", piece, "us-east-1", place.endpoint)

    assert list(scratch.iterdir()) == []
