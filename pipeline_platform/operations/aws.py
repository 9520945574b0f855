"""AWS as operations ask it: one client for a question, refusals as sentences without secrets."""

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
    """Return a client of a service that tries three times."""
    return aws_session().client(service, region_name=region, config=_TRIES)  # type: ignore[call-overload]


@contextmanager
def refusals(name: str, to_check: str) -> Iterator[None]:
    """Turn what AWS says into one sentence about `name`: InvalidSettingError or UnavailableError.

    No sentence holds more of AWS's answer than its code, so none can hold a secret.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise InvalidSettingError(
            f"{name} needs AWS credentials and found none ({type(error).__name__}); set "
            "AWS's own variables, a profile or a role."
        ) from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status >= _FIRST_FAULT_OF_THE_SERVER:
            raise UnavailableError(f"{name} did not answer ({code}).") from None
        raise InvalidSettingError(f"{name} refused ({code}); check {to_check}.") from None
    except BotoCoreError as error:
        raise UnavailableError(
            f"{name} can't be reached ({type(error).__name__}); check the network."
        ) from None
