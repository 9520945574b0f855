"""Objects that can not be read at once are told and left alone; the others go on (B-13)."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline_platform.ingestion.replay import preview_files
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from tests.integration.landing.local_s3 import s3_client, settings_in_s3
from tests.integration.web_events.event_files import NOON, event, ingest, run_of

LOCATION = "raw/web_events/incoming"


@pytest.fixture
def services(s3_endpoint: str, tmp_path: Path, database_url: str):
    settings = settings_in_s3(s3_endpoint, tmp_path)
    changes = {"database_url": SecretStr(database_url), "environment": "test"}
    with Services(settings.model_copy(update=changes)) as opened:
        yield opened


def put(services: Services, s3_endpoint: str, key: str, content: bytes, kind: str) -> None:
    bucket = services.settings.raw_location.split("/")[2]
    s3_client(s3_endpoint).put_object(Bucket=bucket, Key=key, Body=content, StorageClass=kind)


def test_an_archived_arrival_is_left_waiting_and_the_others_are_read(services, s3_endpoint) -> None:
    put(services, s3_endpoint, f"{LOCATION}/events_1.ndjson", event("a"), "GLACIER")
    put(services, s3_endpoint, f"{LOCATION}/events_2.ndjson", event("b"), "STANDARD")
    found = ingest(run_of(services, now=NOON))
    assert (found["events_1.ndjson"].status, found["events_2.ndjson"].status) == (
        "left_waiting",
        "published",
    )
    assert "GLACIER" in (found["events_1.ndjson"].reason or "")


def test_a_replay_tells_of_an_archived_file_and_leaves_it_alone(
    services, s3_endpoint, tmp_path
) -> None:
    content = event("a") + b"nonsense\n"
    put(services, s3_endpoint, f"{LOCATION}/events_1.ndjson", content, "STANDARD")
    run = run_of(services, now=NOON)
    ingest(run)
    (stored,) = services.landing("web_events").list("archive")
    prefix = services.settings.archive_location.split("/", 3)[3]
    put(services, s3_endpoint, f"{prefix}/web_events/{stored.key}", content, "DEEP_ARCHIVE")
    preview = preview_files(EventFiles(run), Selection(), tmp_path)
    assert (dict(preview.failing_rows), preview.changes_nothing) == ({"archived_object": 1}, True)
