"""AWS Cost Explorer: blended cost by day and service. Each request costs a cent (AWS's price)."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.operations.aws import client, refusals
from pipeline_platform.operations.cost import METRIC, DayCost, day_costs
from pipeline_platform.settings import Settings

REGION = "us-east-1"
"""The only region of AWS that answers for cost."""
MAX_PAGES = 50


def daily_costs(settings: Settings, first: date, last: date) -> list[DayCost]:
    """Ask for each day from first to the day before last, at most a year back.

    The endpoint is AWS's unless AWS_ENDPOINT_URL_COST_EXPLORER or AWS_ENDPOINT_URL says otherwise.
    Raises InvalidSettingError where no cost source is set or it refuses us, UnavailableError when
    it does not answer, BadInputError for an answer that can't be read.
    """
    if settings.cost_source is None:
        raise InvalidSettingError(
            "No source of cost is configured; set PLATFORM_COST_SOURCE=cost_explorer and give the "
            "role ce:GetCostAndUsage."
        )
    with refusals(
        "The Cost Explorer",
        "the credentials, that the Cost Explorer is enabled, and the permission ce:GetCostAndUsage",
    ):
        return day_costs(_results(first, last), first, last)


def _results(first: date, last: date) -> Iterator[dict[str, Any]]:
    asked = client("ce", REGION)
    wanted: dict[str, Any] = {
        "TimePeriod": {"Start": first.isoformat(), "End": last.isoformat()},
        "Granularity": "DAILY",
        "Metrics": [METRIC],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
    }
    for _ in range(MAX_PAGES):
        page = asked.get_cost_and_usage(**wanted)
        yield from page.get("ResultsByTime", [])
        token = page.get("NextPageToken")
        if not token:
            return
        wanted["NextPageToken"] = token
    raise UnavailableError(f"The Cost Explorer's answer did not end within {MAX_PAGES} pages.")
