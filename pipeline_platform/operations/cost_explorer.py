"""AWS Cost Explorer: blended cost by day and service. Each request costs a cent (AWS's price)."""

from datetime import date
from typing import TYPE_CHECKING, Any

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
from pipeline_platform.operations.cost import METRIC, DayCost, day_costs
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "us-east-1"
"""The only region of AWS that answers for cost."""
MAX_PAGES = 50
_TRIES = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3}
)
_PASSING = {"LimitExceededException", "ThrottlingException", "DataUnavailableException"}
_FIRST_FAULT_OF_THE_SERVER = 500


def daily_costs(settings: Settings, first: date, last: date) -> list[DayCost]:
    """Ask for each day from first to the day before last, at most a year back.

    The endpoint is AWS's unless AWS_ENDPOINT_URL_COST_EXPLORER or AWS_ENDPOINT_URL says otherwise.
    Raises InvalidSettingError where no cost source is set or it refuses us, UnavailableError when
    it does not answer, BadInputError for an answer that can't be read. No message holds more of
    AWS's answer than its code, so none can hold a secret.
    """
    if settings.cost_source is None:
        raise InvalidSettingError(
            "No source of cost is configured; set PLATFORM_COST_SOURCE=cost_explorer and give the "
            "role ce:GetCostAndUsage."
        )
    try:
        return day_costs(_results(first, last), first, last)
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise InvalidSettingError(
            f"The Cost Explorer needs AWS credentials and found none ({type(error).__name__}); set "
            "AWS's own variables, a profile or a role."
        ) from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status >= _FIRST_FAULT_OF_THE_SERVER:
            raise UnavailableError(f"The Cost Explorer did not answer ({code}).") from None
        raise InvalidSettingError(
            f"The Cost Explorer refused ({code}); check the credentials, that the Cost Explorer is "
            "enabled, and the permission ce:GetCostAndUsage."
        ) from None
    except BotoCoreError as error:
        raise UnavailableError(
            f"The Cost Explorer can't be reached ({type(error).__name__}); check the network."
        ) from None


def _results(first: date, last: date) -> "Iterator[dict[str, Any]]":
    client: Any = aws_session().client("ce", region_name=REGION, config=_TRIES)
    wanted: dict[str, Any] = {
        "TimePeriod": {"Start": first.isoformat(), "End": last.isoformat()},
        "Granularity": "DAILY",
        "Metrics": [METRIC],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
    }
    for _ in range(MAX_PAGES):
        page = client.get_cost_and_usage(**wanted)
        yield from page.get("ResultsByTime", [])
        token = page.get("NextPageToken")
        if not token:
            return
        wanted["NextPageToken"] = token
    raise UnavailableError(f"The Cost Explorer's answer did not end within {MAX_PAGES} pages.")
