"""S3's notices through SQS: real S3-to-SQS notifications of a local server, over HTTP."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.landing.arrivals import batches
from pipeline_platform.landing.notifications import ArrivalNotifications
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import REGION, s3_client, settings_in_s3

KEYS = ["plain.csv", "with space.csv", "über+plus.csv", "a/b%20c.csv", "q?x=1&y;z.csv"]


@dataclass(frozen=True)
class Queue:
    """A queue that the raw bucket notifies, and whoever else writes to it."""

    settings: Settings
    client: Any
    url: str

    def notifications(self, pipeline: str = "advisory") -> ArrivalNotifications:
        return ArrivalNotifications(self.settings, pipeline)

    def zone(self) -> LandingZone:
        return LandingZone(self.settings, "advisory")

    def send(self, body: object) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.client.send_message(QueueUrl=self.url, MessageBody=text)

    def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    @property
    def bucket(self) -> str:
        return self.settings.raw_location.split("/")[2]


@pytest.fixture
def queue(s3_endpoint: str, tmp_path: Path) -> Queue:
    settings = settings_in_s3(s3_endpoint, tmp_path)
    client = boto3.client("sqs", endpoint_url=s3_endpoint, region_name=REGION)
    url = client.create_queue(
        QueueName=f"arrivals-{uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "300"}
    )["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    s3_client(s3_endpoint).put_bucket_notification_configuration(
        Bucket=settings.raw_location.split("/")[2],
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn["QueueArn"],
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                }
            ]
        },
    )
    return Queue(settings.model_copy(update={"arrivals_queue_url": url}), client, url)


def deliver(queue: Queue, key: str, *, prefix: str = "raw/advisory/incoming/") -> None:
    client = s3_client(queue.settings.s3_endpoint or "")
    client.put_object(Bucket=queue.bucket, Key=prefix + key, Body=b"content")


def s3_event(queue: Queue, key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "Records": [
            {"eventName": name, "s3": {"bucket": {"name": queue.bucket}, "object": {"key": key}}}
        ]
    }


def test_a_delivered_object_is_notified(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    assert queue.notifications().poll(None, wait_seconds=0).keys == ("daily.csv",)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_given_as_it_is_in_the_bucket(queue: Queue, key: str) -> None:
    deliver(queue, key)
    assert queue.notifications().poll(None, wait_seconds=0).keys == (key,)


def test_a_notified_object_can_be_claimed(queue: Queue) -> None:
    deliver(queue, "with space+plus.csv")
    [key] = queue.notifications().poll(None, wait_seconds=0).keys
    assert queue.zone().claim(key).name == "with space+plus.csv"


def test_moves_within_the_zone_are_no_arrivals(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    queue.zone().archive(queue.zone().claim("daily.csv"))
    polled = queue.notifications().poll(None, wait_seconds=0)
    assert queue.zone().present(polled.keys) == []


def test_nothing_is_acknowledged_before_the_next_poll(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    before = queue.waiting()
    queue.notifications().poll(None, wait_seconds=0)
    assert queue.waiting() == before


def test_the_next_poll_acknowledges_what_its_cursor_names(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    polled = queue.notifications().poll(None, wait_seconds=0)
    queue.notifications().poll(polled.cursor, wait_seconds=0)
    assert queue.waiting() == 0


def test_a_poll_whose_cursor_was_never_recorded_is_repeated(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    messages = queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10)["Messages"]
    queue.notifications().poll(None, wait_seconds=0)
    for message in messages:  # as when the visibility timeout has passed
        queue.client.change_message_visibility(
            QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    assert queue.notifications().poll(None, wait_seconds=0).keys == ("daily.csv",)


def test_more_objects_than_one_request_gives_are_all_received(queue: Queue) -> None:
    for number in range(35):
        deliver(queue, f"{number}.csv")
    polled = queue.notifications().poll(None, wait_seconds=0)
    assert sorted(polled.keys) == sorted(f"{number}.csv" for number in range(35))


def test_a_poll_is_bounded(queue: Queue) -> None:
    for number in range(15):
        deliver(queue, f"{number}.csv")
    assert len(queue.notifications().poll(None, max_messages=12, wait_seconds=0).keys) <= 12


def test_what_a_bounded_poll_left_comes_with_the_next(queue: Queue) -> None:
    for number in range(15):
        deliver(queue, f"{number}.csv")
    polled = queue.notifications().poll(None, max_messages=12, wait_seconds=0)
    rest = queue.notifications().poll(polled.cursor, wait_seconds=0)
    assert len({*polled.keys, *rest.keys}) == 15


def test_an_object_notified_twice_is_given_once(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    deliver(queue, "daily.csv")
    assert queue.notifications().poll(None, wait_seconds=0).keys == ("daily.csv",)


@pytest.mark.parametrize(
    "body",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"},
        {"Records": []},
        {"detail-type": "Object Deleted", "detail": {}},
    ],
)
def test_a_message_without_an_arrival_is_acknowledged_and_ignored(
    queue: Queue, body: object
) -> None:
    queue.send(body)
    polled = queue.notifications().poll(None, wait_seconds=0)
    queue.notifications().poll(polled.cursor, wait_seconds=0)
    assert (polled.keys, polled.unreadable_count, queue.waiting()) == ((), 0, 0)


@pytest.mark.parametrize(
    "prefix", ["elsewhere/", "raw/advisory/archive/", "raw/advisory/", "rawish/advisory/incoming/"]
)
def test_an_object_outside_all_incoming_folders_is_ignored(queue: Queue, prefix: str) -> None:
    deliver(queue, "daily.csv", prefix=prefix)
    polled = queue.notifications().poll(None, wait_seconds=0)
    queue.notifications().poll(polled.cursor, wait_seconds=0)
    assert (polled.keys, queue.waiting()) == ((), 0)


def test_a_removal_is_ignored(queue: Queue) -> None:
    queue.send(s3_event(queue, "raw/advisory/incoming/x.csv", "ObjectRemoved:Delete"))
    assert queue.notifications().poll(None, wait_seconds=0).keys == ()


def test_another_bucket_is_ignored(queue: Queue) -> None:
    event = s3_event(queue, "raw/advisory/incoming/x.csv")
    event["Records"][0]["s3"]["bucket"]["name"] = "another"
    queue.send(event)
    assert queue.notifications().poll(None, wait_seconds=0).keys == ()


def test_the_notice_of_another_pipeline_is_left_to_it(queue: Queue) -> None:
    deliver(queue, "events.json", prefix="raw/web_events/incoming/")
    mine = queue.notifications().poll(None, wait_seconds=0)
    queue.notifications().poll(mine.cursor, wait_seconds=0)
    theirs = queue.notifications("web_events").poll(None, wait_seconds=0)
    assert (mine.keys, theirs.keys) == ((), ("events.json",))


@pytest.mark.parametrize("body", ["not json", "[]", '"text"', '{"Records": [{}]}', "{}"])
def test_a_message_that_can_not_be_read_is_counted_and_left_to_the_redrive_policy(
    queue: Queue, body: str
) -> None:
    queue.send(body)
    polled = queue.notifications().poll(None, wait_seconds=0)
    queue.notifications().poll(polled.cursor, wait_seconds=0)
    assert (polled.unreadable_count, queue.waiting()) == (1, 1)


def test_an_event_through_sns_is_read(queue: Queue) -> None:
    event = s3_event(queue, "raw/advisory/incoming/by+topic.csv")
    queue.send({"Type": "Notification", "Message": json.dumps(event)})
    assert queue.notifications().poll(None, wait_seconds=0).keys == ("by topic.csv",)


def test_an_event_through_eventbridge_has_its_key_as_it_is(queue: Queue) -> None:
    key = {"key": "raw/advisory/incoming/by+bus.csv"}
    detail = {"bucket": {"name": queue.bucket}, "object": key}
    queue.send({"detail-type": "Object Created", "detail": detail})
    assert queue.notifications().poll(None, wait_seconds=0).keys == ("by+bus.csv",)


@pytest.mark.parametrize("cursor", ["", "null", "[]", '{"receipts": ["stale"]}', "x"])
def test_a_cursor_that_names_nothing_known_does_no_harm(queue: Queue, cursor: str) -> None:
    deliver(queue, "daily.csv")
    assert queue.notifications().poll(cursor, wait_seconds=0).keys == ("daily.csv",)


def test_notified_objects_form_the_same_run_key_as_listed_ones(queue: Queue) -> None:
    deliver(queue, "daily.csv")
    zone = queue.zone()
    notified = zone.present(queue.notifications().poll(None, wait_seconds=0).keys)
    limits = {"max_files": 10, "max_bytes": 10**6}
    [one], [other] = batches(notified, **limits), batches(zone.list("incoming"), **limits)
    assert one.run_key == other.run_key


def test_notifications_without_a_queue_are_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="PLATFORM_ARRIVALS_QUEUE_URL"):
        ArrivalNotifications(Settings(home=tmp_path), "advisory")


def test_a_missing_queue_is_a_wrong_setting(queue: Queue) -> None:
    settings = queue.settings.model_copy(update={"arrivals_queue_url": queue.url + "-gone"})
    with pytest.raises(InvalidSettingError, match="PLATFORM_ARRIVALS_QUEUE_URL"):
        ArrivalNotifications(settings, "advisory").poll(None, wait_seconds=0)


def test_a_queue_that_does_not_answer_is_transient(queue: Queue) -> None:
    settings = queue.settings.model_copy(
        update={"arrivals_queue_url": "http://127.0.0.1:9/123/arrivals"}
    )
    with pytest.raises(UnavailableError):
        ArrivalNotifications(settings, "advisory").poll(None, wait_seconds=0)
