"""Each channel over the real protocol: what arrives, and what a failure says and does not say."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import apprise.plugins.pagerduty
import apprise.plugins.slack
import boto3
import pytest
from pydantic import SecretStr

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.operations.channels import (
    STATUS_PAGE_TITLE,
    Message,
    channel_addresses,
    recipient_of,
    send,
)
from pipeline_platform.operations.plan import alertings
from pipeline_platform.settings import Settings
from tests.integration.operations.local_channels import LocalChannels, mail_server
from tests.integration.operations.local_costs import LocalCosts

OPENED = Message(
    key="web_events-message-7",
    incident_key="web_events-incident-3",
    kind="opened",
    severity="critical",
    title="[CRITICAL] web_events: a run failed (incident 3)",
    body="What: a run failed\nCommand: pipeline-platform partitions list",
)
RESOLVED = replace(OPENED, key="web_events-message-8", kind="resolved", title="[RESOLVED] it")
ON_CALL = alertings()["web_events"].contacts["on_call"]


@pytest.fixture
def channels() -> Iterator[LocalChannels]:
    with LocalChannels() as server:
        yield server


@pytest.fixture
def pagerduty(channels: LocalChannels, monkeypatch: pytest.MonkeyPatch) -> SecretStr:
    lookup = {"us": f"http://{channels.address}/v2/enqueue"}
    monkeypatch.setattr(apprise.plugins.pagerduty, "PAGERDUTY_API_LOOKUP", lookup)
    return SecretStr("pagerduty://IntegrationKey@ApiKey/")


@pytest.fixture
def slack(channels: LocalChannels, monkeypatch: pytest.MonkeyPatch) -> SecretStr:
    here = f"http://{channels.address}/services"
    monkeypatch.setattr(apprise.plugins.slack.NotifySlack, "webhook_url", here)
    return SecretStr("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/")


# --- what arrives -------------------------------------------------------------------------------


def test_pagerduty_is_triggered_with_the_incidents_key(
    channels: LocalChannels, pagerduty: SecretStr
) -> None:
    send("pagerduty", pagerduty, "", OPENED)
    body = channels.requests[0].body
    assert (body["event_action"], body["dedup_key"]) == ("trigger", OPENED.incident_key)
    assert (body["payload"]["severity"], body["payload"]["summary"]) == ("critical", OPENED.title)
    assert body["payload"]["custom_details"]["message"] == OPENED.body


def test_pagerduty_is_resolved_by_the_same_key(
    channels: LocalChannels, pagerduty: SecretStr
) -> None:
    send("pagerduty", pagerduty, "", RESOLVED)
    body = channels.requests[0].body
    assert (body["event_action"], body["dedup_key"]) == ("resolve", OPENED.incident_key)


def test_slack_is_told_in_the_contacts_channel(channels: LocalChannels, slack: SecretStr) -> None:
    send("slack", slack, recipient_of(slack, ON_CALL), OPENED)
    body = channels.requests[0].body
    assert body["channel"] == ON_CALL.slack
    assert OPENED.title in json.dumps(body)
    assert "pipeline-platform partitions list" in json.dumps(body)


def test_a_webhook_gets_the_words_and_both_keys(channels: LocalChannels) -> None:
    send("webhook", SecretStr(f"json://{channels.address}/hook?+X-Token=t"), "", OPENED)
    request = channels.requests[0]
    assert request.headers["Idempotency-Key"] == OPENED.key
    assert request.headers["X-Token"] == "t"
    assert request.body["title"] == OPENED.title
    assert request.body["message"] == OPENED.body
    assert (request.body["incident_key"], request.body["kind"]) == (OPENED.incident_key, "opened")


def test_a_mail_goes_to_the_contact() -> None:
    with mail_server() as (address, received):
        mail = SecretStr(f"mailto://{address}?from=alerts@company.com&mode=insecure")
        send("email", mail, recipient_of(mail, ON_CALL), OPENED)
    ((recipients, message),) = received
    assert recipients == [ON_CALL.email]
    assert message["Subject"] == OPENED.title
    assert "pipeline-platform partitions list" in message.get_body().get_content()
    assert message["X-Incident-Key"] == OPENED.incident_key


def test_a_topic_of_sns_gets_the_message_and_its_keys(
    cost_server: LocalCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cost_server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    region = "us-east-1"
    topic = boto3.client("sns", region_name=region).create_topic(Name="alerts")["TopicArn"]
    queues = boto3.client("sqs", region_name=region)
    queue = queues.create_queue(QueueName="alerts")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    boto3.client("sns", region_name=region).subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"]
    )
    send("topic", SecretStr(topic), "", OPENED)
    (received,) = queues.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(received["Body"])
    assert (told["Subject"], told["Message"]) == (OPENED.title, OPENED.body)
    assert told["MessageAttributes"]["incident_key"]["Value"] == OPENED.incident_key


def status_page(channels: LocalChannels) -> SecretStr:
    return SecretStr(f"statuspage+http://SecretToken@{channels.address}/page1")


def test_a_status_page_shows_the_outage_once_and_its_end(channels: LocalChannels) -> None:
    for message in (OPENED, replace(OPENED, kind="escalated"), RESOLVED):
        send("status_page", status_page(channels), "", message)
    (shown,) = channels.shown.values()
    assert (shown["name"], shown["status"]) == (STATUS_PAGE_TITLE, "resolved")
    methods = [one.method for one in channels.requests if one.method != "GET"]
    assert methods == ["POST", "PATCH", "PATCH"]
    assert channels.requests[0].headers["Authorization"] == "OAuth SecretToken"


def test_a_status_page_does_not_tell_what_is_inside(channels: LocalChannels) -> None:
    send("status_page", status_page(channels), "", OPENED)
    assert OPENED.body not in json.dumps(channels.requests[-1].body)


def test_the_end_of_what_a_status_page_never_showed_is_not_shown(channels: LocalChannels) -> None:
    send("status_page", status_page(channels), "", RESOLVED)
    assert channels.shown == {}


# --- what goes wrong ----------------------------------------------------------------------------


SECRETS = ("SecretToken", "ApiKey", "IntegrationKey", "127.0.0.1", "TIiajk")


@pytest.mark.parametrize("channel", ["webhook", "pagerduty", "slack", "status_page"])
def test_a_channel_that_refuses_says_so_without_its_address(
    channel: str,
    channels: LocalChannels,
    pagerduty: SecretStr,
    slack: SecretStr,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    channels.status = 503
    address = {
        "webhook": SecretStr(f"json://user:SecretToken@{channels.address}/hook"),
        "pagerduty": pagerduty,
        "slack": slack,
        "status_page": status_page(channels),
    }[channel]
    caplog.set_level(logging.DEBUG, "apprise")
    with pytest.raises(UnavailableError, match=rf"'{channel}'.*HTTP status 503") as raised:
        send(channel, address, "#alerts", OPENED)
    said = f"{raised.value} {caplog.text} {capfd.readouterr()}"
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.parametrize(
    "address",
    [
        "json://user:SecretToken@127.0.0.1:9/hook",
        "statuspage+http://SecretToken@127.0.0.1:9/page",
        "mailto://user:SecretToken@127.0.0.1:9?from=a@b.org&mode=insecure",
    ],
)
def test_a_channel_that_is_down_is_named_without_its_address(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnavailableError, match="'channel'") as raised:
        send("channel", SecretStr(address), "someone@company.com", OPENED)
    assert [one for one in SECRETS if one in f"{raised.value} {caplog.text}"] == []


def test_a_topic_that_does_not_exist_is_named_by_its_channel(
    cost_server: LocalCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cost_server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    address = SecretStr("arn:aws:sns:us-east-1:123456789012:nothing")
    with pytest.raises(UnavailableError, match=r"'topic' refused the message \(NotFound"):
        send("topic", address, "", OPENED)


@pytest.mark.parametrize("address", ["", "nonsense", "weather://SecretToken", "pagerduty://x"])
def test_an_address_that_nothing_can_be_sent_to_is_a_wrong_setting(address: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"'pager' in PLATFORM_CHANNELS") as raised:
        send("pager", SecretStr(address), "", OPENED)
    assert "SecretToken" not in str(raised.value)


# --- where addresses come from ------------------------------------------------------------------


def test_addresses_are_read_from_the_environment_and_never_shown() -> None:
    settings = Settings.from_env(
        {"PLATFORM_HOME": "h", "PLATFORM_CHANNELS": '{"slack": "slack://SecretToken"}'}
    )
    assert channel_addresses(settings)["slack"].get_secret_value() == "slack://SecretToken"
    assert "SecretToken" not in repr(settings)
    assert Settings.from_env(settings.to_env()) == settings


@pytest.mark.parametrize("text", ["SecretToken", '["SecretToken"]', '{"a": {"b": "SecretToken"}}'])
def test_a_setting_that_is_no_mapping_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidSettingError, match="PLATFORM_CHANNELS") as raised:
        Settings.from_env({"PLATFORM_HOME": "h", "PLATFORM_CHANNELS": text})
    assert "SecretToken" not in str(raised.value)


def test_addresses_are_read_from_a_secret_and_the_environment_wins(
    settings: Settings, cost_server: LocalCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cost_server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    boto3.client("secretsmanager", region_name=settings.s3_region).create_secret(
        Name="channels", SecretString='{"slack": "slack://a", "email": "mailto://b"}'
    )
    given = settings.model_copy(
        update={"channels_secret_name": "channels", "channels": {"slack": SecretStr("slack://c")}}
    )
    found = {name: one.get_secret_value() for name, one in channel_addresses(given).items()}
    assert found == {"slack": "slack://c", "email": "mailto://b"}
