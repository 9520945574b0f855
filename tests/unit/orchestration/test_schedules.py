"""A schedule and its job belong together: neither is left out unnoticed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.orchestration.automation import schedules_from_runbook
from pipeline_platform.runbook import Schedule
from pipeline_platform.web_events.run_context import load_runbook


@dg.job
def work() -> None:
    """Do nothing."""


@dataclass
class Plan:
    pipeline: str = "sample"
    schedules: dict[str, Schedule] = field(
        default_factory=lambda: {
            "nightly": Schedule(
                title="Night", cron="0 1 * * *", environments={"production": "running"}
            )
        }
    )


def test_a_schedule_starts_its_job() -> None:
    (made,) = schedules_from_runbook(Plan(), {"nightly": work}, "production")
    assert (made.name, made.job_name, made.default_status) == (
        "sample_nightly",
        "work",
        dg.DefaultScheduleStatus.RUNNING,
    )


def test_a_schedule_without_a_job_is_an_error() -> None:
    with pytest.raises(InvalidRunbookError, match="the schedule nightly, but there is no job"):
        schedules_from_runbook(Plan(), {}, "production")


def test_a_job_for_a_schedule_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InvalidRunbookError, match="a job for the schedule hourly"):
        schedules_from_runbook(Plan(), {"nightly": work, "hourly": work}, "production")


def test_the_monthly_review_is_on_first_sundays_only() -> None:
    schedule = load_runbook().reports.pages["monthly_review"]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ticks = schedule_execution_time_iterator(
        start.timestamp(), schedule.cron, schedule.timezone, ascending=True
    )
    year = list(takewhile(lambda tick: tick < start + timedelta(days=365), ticks))
    assert len(year) == 12
    assert {(tick.isoweekday(), tick.hour, tick.day <= 7) for tick in year} == {(7, 1, True)}
