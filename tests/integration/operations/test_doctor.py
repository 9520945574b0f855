"""`doctor` names the first layer that fails on the way to each service that the settings name."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr

from pipeline_platform.operations.doctor import examine
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import REGION, running_server, settings_in_s3

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("moto")) as address:
        yield address


def found(settings: Settings, **changes: object) -> dict[str, str]:
    """Return of each service the layer that fails, or `ok`."""
    changed = settings.model_copy(update=changes)
    last = {one.service: one.layer for one in examine(changed, ["weather"])}
    return {name: "ok" if layer.is_ok else layer.name for name, layer in last.items()}


def test_all_layers_of_a_local_platform_work(settings) -> None:
    assert set(found(settings).values()) == {"ok"}


def test_nothing_is_left_behind(settings) -> None:
    found(settings)
    assert [path for path in Path(settings.home).rglob("*") if path.is_file()] == []


def test_a_database_that_refuses_is_named_and_the_catalogue_not_asked(settings) -> None:
    url = SecretStr("postgresql://u:hunter2@127.0.0.1:1/db")
    answer = found(settings, database_url=url)
    assert (answer["database"], "lake's catalogue" in answer) == ("tcp", False)


def test_a_read_replica_need_not_be_writable(settings, database_url) -> None:
    url = SecretStr(database_url + "?options=-c%20default_transaction_read_only%3Don")
    assert found(settings, reporting_database_url=url)["read replica"] == "ok"


def test_a_folder_that_is_a_file_is_named(settings, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert found(settings, processed_location=str(tmp_path / "file"))["lake's files"] == "use"


def test_a_location_that_is_none_is_named(settings) -> None:
    assert found(settings, archive_location="ftp://x")["archive"] == "address"


def test_aws_says_who_we_are(endpoint, settings, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    layers = [
        one.layer
        for one in examine(settings.model_copy(update={"events_stream": "visits"}), [])
        if one.service == "AWS"
    ]
    assert [(one.name, "arn:aws" in one.detail) for one in layers] == [("identity", True)]


def test_an_assumed_role_is_examined_by_what_it_can_do(
    endpoint: str, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-15: it is a session and no principal, so a simulation of its policies would be refused."""
    settings = settings_in_s3(endpoint, tmp_path)
    given = boto3.client("sts", endpoint_url=endpoint, region_name=REGION).assume_role(
        RoleArn="arn:aws:iam::123456789012:role/pipeline", RoleSessionName="on-call"
    )["Credentials"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])
    changes = {"database_url": SecretStr(database_url)}
    seen = examine(settings.model_copy(update={**changes, "s3_endpoint": None}), ["weather"])
    layers = {(one.service, one.layer.name): one.layer for one in seen}
    assert ":assumed-role/pipeline/on-call" in layers["AWS", "identity"].detail
    assert layers["landing of weather", "permission"].is_ok
    assert found(settings, **changes)["landing of weather"] == "ok"


def test_a_bucket_is_listed_written_and_read(endpoint, tmp_path, database_url) -> None:
    settings = settings_in_s3(endpoint, tmp_path)
    changes = {"database_url": SecretStr(database_url)}
    assert found(settings, **changes)["landing of weather"] == "ok"


def test_a_rule_that_would_archive_the_lakes_files_is_refused(settings, endpoint) -> None:
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
    client.create_bucket(Bucket="lake-with-rules")
    changes = {"processed_location": "s3://lake-with-rules/lake", "s3_endpoint": endpoint}
    before = found(settings, **changes)["lake's files"]
    archiving = {"Days": 30, "StorageClass": "GLACIER"}
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Transitions": [archiving]}
    client.put_bucket_lifecycle_configuration(
        Bucket="lake-with-rules", LifecycleConfiguration={"Rules": [rule]}
    )
    after = found(settings, **changes)["lake's files"]
    assert (before, after) == ("ok", "lifecycle")


def test_a_bucket_that_does_not_exist_is_a_matter_of_permission(settings, endpoint) -> None:
    changes = {"archive_location": "s3://nobodys/x", "s3_endpoint": endpoint}
    assert found(settings, **changes)["archive"] == "permission"


def test_without_credentials_the_login_fails(settings, endpoint, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    changes = {"archive_location": "s3://nobodys/x", "s3_endpoint": endpoint}
    assert found(settings, **changes)["archive"] == "login"


def test_queue_and_stream_are_tried_where_they_are_set(settings, endpoint) -> None:
    queue = boto3.client("sqs", endpoint_url=endpoint, region_name=REGION)
    url = queue.create_queue(QueueName="arrivals")["QueueUrl"]
    changes = {"events_stream": "absent", "kinesis_endpoint": endpoint, "arrivals_queue_url": url}
    answer = found(settings, **changes)
    assert (answer["arrivals queue"], answer["events stream"]) == ("ok", "permission")


def test_a_stream_whose_server_is_down_fails_at_tcp(settings) -> None:
    changes = {"events_stream": "events", "kinesis_endpoint": NOWHERE}
    assert found(settings, **changes)["events stream"] == "tcp"


def test_no_layer_shows_a_secret(settings) -> None:
    url = SecretStr("postgresql://u:hunter2@no-such-host.invalid/db")
    changed = settings.model_copy(update={"database_url": url})
    assert "hunter2" not in str(list(examine(changed, [])))
