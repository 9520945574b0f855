"""What AWS says of roles, buckets, trails and secrets: the evidence of a security review.

Only reads. Each thing is asked about by itself, so that one refusal does not hide the others.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from pipeline_platform.failures import NotFoundError, PlatformError
from pipeline_platform.operations.aws import aws_failures, client, code_of
from pipeline_platform.operations.security import Bucket, Trail, Unseen
from pipeline_platform.runbook import SecuredThings

T = TypeVar("T")
Policies = Mapping[str, Sequence[Mapping[str, Any]]]
SeenOfAws = tuple[
    Mapping[str, Policies | Unseen],
    Mapping[str, Bucket | Unseen],
    Mapping[str, Trail | Unseen],
    Mapping[str, datetime | Unseen],
]
"""Roles, buckets, trails and secrets, by name."""
_ABSENT = {
    "NoSuchEntity",
    "NoSuchBucket",
    "ResourceNotFoundException",
    "TrailNotFoundException",
}


def evidence_of(things: SecuredThings, region: str) -> SeenOfAws:
    """Return what is seen of a pipeline's roles, buckets, trails and secrets, by name."""
    return (
        {one: _seen("role", one, region, _policies) for one in things.roles},
        {one: _seen("bucket", one, region, _bucket) for one in things.buckets},
        {one: _seen("trail", one, region, _trail) for one in things.trails},
        {one: _seen("secret", one, region, _changed_at) for one in things.secrets},
    )


def _seen(kind: str, name: str, region: str, ask: Callable[[str, str], T]) -> T | Unseen:
    try:
        with aws_failures("AWS", f"give the role the permission to read about the {kind} {name}"):
            try:
                return ask(name, region)
            except ClientError as error:
                if code_of(error) in _ABSENT or "404" in code_of(error):
                    raise NotFoundError(f"AWS knows no {kind} {name}.") from None
                raise
    except PlatformError as error:
        return Unseen(str(error))


def _policies(role: str, region: str) -> Policies:
    """Return the statements of each attached and each inline policy of a role."""
    iam = client("iam", region)
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=role):
        for policy in page["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            found[policy["PolicyName"]] = _statements(document["PolicyVersion"]["Document"])
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=role):
        for name in page["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=name)
            found[name] = _statements(document["PolicyDocument"])
    return found


def _statements(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = document.get("Statement", [])
    return [given] if isinstance(given, Mapping) else list(given)


def _bucket(name: str, region: str) -> Bucket:
    s3 = client("s3", region)
    encryption = _unless(
        "ServerSideEncryptionConfigurationNotFoundError",
        lambda: s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"],
    )
    rules = encryption["Rules"] if encryption else []
    algorithms = [one["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for one in rules]
    tags = _unless("NoSuchTagSet", lambda: s3.get_bucket_tagging(Bucket=name)["TagSet"]) or []
    return Bucket(
        encryption=", ".join(algorithms) or None,
        is_logged="LoggingEnabled" in s3.get_bucket_logging(Bucket=name),
        is_versioned=s3.get_bucket_versioning(Bucket=name).get("Status") == "Enabled",
        tags=[one["Key"] for one in tags],
    )


def _unless(code: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ClientError as error:
        if code_of(error) == code:
            return None
        raise


def _trail(name: str, region: str) -> Trail:
    status = client("cloudtrail", region).get_trail_status(Name=name)
    return Trail(bool(status.get("IsLogging")), _utc(status.get("LatestDeliveryTime")))


def _changed_at(secret: str, region: str) -> datetime:
    told = client("secretsmanager", region).describe_secret(SecretId=secret)
    times = [_utc(told.get(name)) for name in ("LastRotatedDate", "LastChangedDate", "CreatedDate")]
    return next(at for at in times if at is not None)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)
