"""Questions to AWS: with which patience they are asked, and what a refusal means in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from pipeline_platform.aws_sessions import aws_session
from pipeline_platform.failures import InvalidSettingError, UnavailableError

_TRIES = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3}
)
_PASSING = {
    "LimitExceededException",
    "ThrottlingException",
    "Throttling",
    "DataUnavailableException",
}
_FIRST_FAULT_OF_THE_SERVER = 500


def client(service: str, region: str) -> Any:
    """Return a client of AWS, or of what AWS_ENDPOINT_URL or its own variable names."""
    session: Any = aws_session()
    return session.client(service, region_name=region, config=_TRIES)


def code_of(error: ClientError) -> str:
    """Return the code of a refusal: the only part of it that can't hold a secret."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def aws_failures(name: str, remedy: str) -> Iterator[None]:
    """Turn a failure of AWS into ours; `name` is who answers, `remedy` what a refusal asks for.

    InvalidSettingError where there are no credentials or AWS refuses, UnavailableError where it
    does not answer. No message holds more of AWS's answer than its code.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise InvalidSettingError(
            f"{name} needs AWS credentials and found none ({type(error).__name__}); set AWS's own "
            "variables, a profile or a role."
        ) from None
    except ClientError as error:
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status >= _FIRST_FAULT_OF_THE_SERVER:
            raise UnavailableError(f"{name} did not answer ({code}).") from None
        raise InvalidSettingError(f"{name} refused ({code}); {remedy}.") from None
    except BotoCoreError as error:
        raise UnavailableError(
            f"{name} can't be reached ({type(error).__name__}); check the network."
        ) from None
