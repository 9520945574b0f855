"""Landing zone, lake and archive in a bucket: the same PostgreSQL as in local folders."""

from collections.abc import Iterator
from datetime import date

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance import ingestion
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE
from tests.assets.content import database_content
from tests.assets.platform_runs import (
    AUGUST,
    Platform,
    deliver_sample,
    process_months,
    running,
    sample,
    settings_at,
)
from tests.integration.landing.local_s3 import running_server, s3_client, settings_in_s3

MADE = sample(accounts=2, days=20, end=date(2024, 8, 30), fault_rate=0.02)


@pytest.fixture(scope="module")
def in_folders(new_database, tmp_path_factory) -> Iterator[Platform]:
    settings = settings_at(tmp_path_factory.mktemp("folders"), new_database())
    deliver_sample(settings, MADE)
    with running(settings) as platform:
        run = RunContext(platform.services, "in folders")
        list(ingestion.ingest_arrivals(run))
        process_months(run, [AUGUST])
        yield platform


@pytest.fixture(scope="module")
def in_a_bucket(new_database, tmp_path_factory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("bucket")
    with running_server(home) as address:
        of_landing = settings_in_s3(address, home / "home")
        bucket = of_landing.raw_location.split("/")[2]
        settings = of_landing.model_copy(
            update={
                "environment": "test",
                "database_url": SecretStr(new_database()),
                "processed_location": f"s3://{bucket}/lake",
            }
        )
        for file in MADE.files:
            key = f"raw/{PIPELINE}/incoming/{file.name}"
            s3_client(address).put_object(Bucket=bucket, Key=key, Body=file.content)
        with running(settings) as platform:
            assert platform.ingest().success
            assert platform.process(AUGUST, AUGUST).success
            yield platform


def test_postgresql_holds_the_same(in_folders, in_a_bucket) -> None:
    of_folders = database_content(in_folders.services, ["performance_data"])
    assert of_folders["performance_data"]
    assert database_content(in_a_bucket.services, ["performance_data"]) == of_folders


@pytest.mark.parametrize("table", MARTS.tables, ids=lambda table: table.name)
def test_a_mart_is_published(in_a_bucket, table) -> None:
    assert in_a_bucket.services.lake.last_publication(table)


def test_every_file_ends_in_the_archive(in_a_bucket) -> None:
    archive = in_a_bucket.services.landing(PIPELINE).observe("archive")
    assert archive.object_count == len(MADE.files)


def test_the_ledger_is_the_same(in_folders, in_a_bucket) -> None:
    tables = ["conservation_ledger"]
    assert database_content(in_a_bucket.services, tables) == database_content(
        in_folders.services, tables
    )


def test_nothing_of_the_data_is_left_on_the_local_disk(in_a_bucket) -> None:
    home = in_a_bucket.settings.home
    assert list(home.rglob("*.parquet")) == []
