"""A security review over real HTTP to a local AWS, and over a real database."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from select import select
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from pydantic import SecretStr

from pipeline_platform.api.tokens import new_token
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.plan import OperationsPlan, alertings, operations_plan
from pipeline_platform.operations.security import Finding
from pipeline_platform.operations.security_assets import KEY
from pipeline_platform.operations.security_reviews import SecurityReview, latest_review, review
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.assets.platform_runs import running
from tests.integration.landing.local_s3 import REGION
from tests.integration.operations.local_costs import LocalCosts

ROLE, BUCKET, TRAIL = "WebEventsProcessorRole", "s3-tables-bucket", "web-events-audit-trail"
ADVISORY_ROLE = "GlueServiceRole"
SECRET = "advisory-etl/db-password"
NOW = datetime.now(UTC)
MONTH = timedelta(days=30)
WIDE = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}


@pytest.fixture
def cloud(cost_server: LocalCosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local AWS without anything in it, which all clients of the test speak to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cost_server.address)
    cost_server.forget()


@pytest.fixture
def seeing(settings: Settings) -> Iterator[Services]:
    with Services(settings.model_copy(update={"security_source": "aws"})) as opened:
        yield opened


def client(name: str) -> Any:
    return boto3.client(name, region_name=REGION)


def found(done: SecurityReview, subject: str, aspect: str) -> Finding:
    return next(one for one in done.findings if (one.subject, one.aspect) == (subject, aspect))


def make_role() -> None:
    client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")


def allow_everything() -> None:
    client("iam").put_role_policy(
        RoleName=ROLE, PolicyName="DataAccessPolicy", PolicyDocument=json.dumps(WIDE)
    )


def make_bucket() -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)


def test_without_a_source_nothing_of_aws_is_measurable(settings: Settings) -> None:
    with Services(settings) as services:
        done = review(services, NOW)
    of_aws = [one for one in done.findings if one.subject.startswith(("role", "bucket", "trail"))]
    assert {one.outcome for one in of_aws} == {"not measurable"}
    assert {one.sentence for one in of_aws} == {"Not configured: set PLATFORM_SECURITY_SOURCE=aws."}


def test_what_aws_does_not_know_is_not_measurable(cloud, seeing) -> None:
    one = found(review(seeing, NOW), f"role {ROLE}", "access")
    assert (one.outcome, one.sentence) == ("not measurable", f"AWS knows no role {ROLE}.")


def test_a_wildcard_that_was_added_since_last_month_fails(cloud, seeing) -> None:
    make_role()
    review(seeing, NOW - MONTH)
    allow_everything()
    one = found(review(seeing, NOW), f"role {ROLE}", "access")
    assert (one.outcome, "policy DataAccessPolicy: * on *" in one.sentence) == ("fail", True)


def test_an_attached_policy_is_read_in_its_present_version(cloud, seeing) -> None:
    make_role()
    iam = client("iam")
    made = iam.create_policy(PolicyName="Data", PolicyDocument=json.dumps(WIDE))["Policy"]
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=made["Arn"])
    review(seeing, NOW - MONTH)
    one = found(review(seeing, NOW), f"role {ROLE}", "access")
    assert (one.outcome, "1 known before" in one.sentence) == ("pass", True)


def test_a_review_of_yesterday_is_not_what_is_compared_with(cloud, seeing) -> None:
    make_role()
    review(seeing, NOW - MONTH)
    allow_everything()
    review(seeing, NOW - timedelta(days=1))
    assert found(review(seeing, NOW), f"role {ROLE}", "access").outcome == "fail"


def test_what_can_not_be_seen_for_a_month_is_not_new_afterwards(cloud, seeing, settings) -> None:
    make_role()
    allow_everything()
    review(seeing, NOW - 2 * MONTH)
    with Services(settings) as blind:
        review(blind, NOW - MONTH)
    assert found(review(seeing, NOW), f"role {ROLE}", "access").outcome == "pass"


@pytest.mark.parametrize("is_good", [True, False])
def test_a_bucket_is_judged_by_what_aws_says_of_it(cloud, seeing, is_good: bool) -> None:
    make_bucket()
    if is_good:
        s3 = client("s3")
        keys = ("Project", "Owner", "Environment", "CostCenter")
        tags = {"TagSet": [{"Key": key, "Value": "x"} for key in keys]}
        s3.put_bucket_tagging(Bucket=BUCKET, Tagging=tags)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    done = review(seeing, NOW)
    outcomes = [
        found(done, f"bucket {BUCKET}{more}", aspect).outcome
        for more, aspect in ((", versions", "audit trail"), ("", "tags"))
    ]
    assert outcomes == ["pass" if is_good else "fail"] * 2


def test_a_trail_that_is_switched_off_fails(cloud, seeing) -> None:
    client("s3").create_bucket(Bucket="trails")
    client("cloudtrail").create_trail(Name=TRAIL, S3BucketName="trails")
    one = found(review(seeing, NOW), f"trail {TRAIL}", "audit trail")
    assert (one.outcome, one.sentence) == ("fail", "it is switched off")


@pytest.mark.parametrize(("days", "outcome"), [(89, "pass"), (91, "fail")])
def test_a_secret_is_as_old_as_its_last_change(cloud, seeing, days: int, outcome: str) -> None:
    client("secretsmanager").create_secret(Name=SECRET, SecretString="hidden")
    done = review(seeing, NOW + timedelta(days=days, minutes=5))
    assert found(done, f"secret {SECRET}", "rotation").outcome == outcome


def test_without_credentials_nothing_passes(cloud, seeing, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    one = found(review(seeing, NOW), f"bucket {BUCKET}", "encryption")
    assert (one.outcome, "found none" in one.sentence) == ("not measurable", True)


def test_a_token_is_as_old_as_the_review_that_saw_it_first(settings: Settings) -> None:
    token, entry = new_token("grafana", "read")
    known = settings.model_copy(update={"api_tokens": SecretStr(entry)})
    with Services(known) as services:
        ages = [
            found(
                review(services, NOW + timedelta(days=days)), "token of grafana (read)", "rotation"
            )
            for days in (0, 91)
        ]
        with services.database.connection() as connection:
            kept = connection.execute("SELECT row_to_json(r)::text FROM security_reviews AS r")
            told = " ".join(row[0] for row in kept.fetchall())
    assert [one.outcome for one in ages] == ["pass", "fail"]
    assert (token in told, entry.split(":")[2] in told) == (False, False)


def test_a_password_in_the_environment_has_no_age(settings: Settings) -> None:
    with Services(settings) as services:
        one = found(review(services, NOW), "password of PLATFORM_DATABASE_URL", "rotation")
    assert (one.outcome, "PLATFORM_DATABASE_SECRET_NAME" in one.sentence) == (
        "not measurable",
        True,
    )


def test_a_superuser_that_was_added_fails(settings: Settings) -> None:
    with Services(settings) as services:
        review(services, NOW - MONTH)
        with services.database.transaction() as connection:
            connection.execute("CREATE ROLE eve_of_a_test SUPERUSER LOGIN")
        try:
            one = found(review(services, NOW), "database superusers", "access")
        finally:
            with services.database.transaction() as connection:
                connection.execute("DROP ROLE eve_of_a_test")
    assert (one.outcome, "eve_of_a_test" in one.sentence) == ("fail", True)


def test_connections_that_stay_on_this_machine_need_no_tls(settings: Settings) -> None:
    with Services(settings) as services:
        assert found(review(services, NOW), "database", "encryption").outcome == "pass"


def test_a_failed_check_is_told_to_whom_security_breaches_are(settings: Settings) -> None:
    _, entry = new_token("grafana", "read")
    with running(settings.model_copy(update={"api_tokens": SecretStr(entry)})) as platform:
        review(platform.services, NOW - timedelta(days=91))
        platform.run("operations_security_review")
        log = EventLog(
            platform.instance,
            platform.definitions.resolve_asset_graph(),
            alertings(),
            is_watching_freshness=False,
        )
        told = {one.name: one for one in log.read({}, datetime.now(UTC)).findings}
    one = told["check:operations/security/review:rotation"]
    assert (one.is_fine, one.route, one.severity) == (False, "security_breaches", "critical")


def test_a_breach_of_what_a_pipeline_uses_is_told_on_its_own_route_and_on_no_other(
    cloud, seeing: Services
) -> None:
    """SA-89: a role of advisory's with a new wildcard."""
    client("iam").create_role(RoleName=ADVISORY_ROLE, AssumeRolePolicyDocument="{}")
    review(seeing, NOW - MONTH)
    client("iam").put_role_policy(
        RoleName=ADVISORY_ROLE, PolicyName="DataAccessPolicy", PolicyDocument=json.dumps(WIDE)
    )
    with running(seeing.settings) as platform:
        platform.run("operations_security_review")
        graph = platform.definitions.resolve_asset_graph()
        log = EventLog(platform.instance, graph, alertings(), is_watching_freshness=False)
        broken = [one for one in log.read({}, datetime.now(UTC)).findings if not one.is_fine]
    told = [(one.pipeline, one.route, one.severity, one.response_minutes) for one in broken]
    assert told == [("advisory_performance", "security_breaches", "critical", 0)]
    assert f"role {ADVISORY_ROLE}" in broken[0].sentence


@pytest.mark.parametrize(
    "change", [lambda routes: routes.pop("tags"), lambda routes: routes.update(tags="nobody")]
)
def test_every_aspect_has_a_route_that_there_is(change) -> None:
    document = operations_plan().model_dump()
    change(document["security"]["routes"])
    with pytest.raises(ValueError, match="a known route for tags"):
        OperationsPlan.model_validate(document)


@pytest.mark.parametrize(
    "spelt",
    [
        "postgresql://{user}@{host}:{port}{path}",
        "postgresql://{user}@{path}?host={host}&port={port}",
    ],
)
def test_connections_to_another_address_need_tls_however_it_is_spelt(settings, spelt) -> None:
    parts = urlsplit(settings.database_url.get_secret_value())
    user = parts.netloc.rpartition("@")[0]
    with reached_from_outside(parts.hostname, parts.port) as (host, port):
        url = spelt.format(user=user, host=host, port=port, path=parts.path)
        with Services(settings.model_copy(update={"database_url": SecretStr(url)})) as services:
            one = found(review(services, NOW), "database", "encryption")
    assert one.outcome == "fail"


@contextmanager
def reached_from_outside(host: str, port: int) -> Iterator[tuple[str, int]]:
    """Pass on what arrives at this machine's outer address, as if the server were elsewhere."""

    class PassOn(StreamRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, port)) as server:
                ends = {self.connection: server, server: self.connection}
                while True:
                    for one in select(list(ends), [], [])[0]:
                        if not (data := one.recv(65_536)):
                            return
                        ends[one].sendall(data)

    with ThreadingTCPServer((outer_address(), 0), PassOn) as listener:
        listener.daemon_threads = True
        Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        yield listener.server_address
        listener.shutdown()


def outer_address() -> str:
    """Return an address of this machine that is not its loopback; nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return asking.getsockname()[0]


def test_the_asset_has_a_check_for_each_aspect_and_keeps_the_review(settings: Settings) -> None:
    with running(settings) as platform:
        run = platform.run("operations_security_review")
        assert run.success
        checks = {one.check_name: one for one in run.get_asset_check_evaluations()}
        with platform.services.database.connection() as connection:
            assert latest_review(connection) is not None
        assert platform.instance.get_latest_materialization_event(KEY) is not None
    outcomes = {name: one.metadata["outcome"].value for name, one in checks.items()}
    assert outcomes == {
        "access": "not measurable",
        "encryption": "not measurable",
        "rotation": "not measurable",
        "audit_trail": "not measurable",
        "tags": "not measurable",
        "breaches_of_advisory_performance": "not measurable",
    }
