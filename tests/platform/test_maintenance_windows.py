"""Two jobs of the first Sunday wait for each other instead of colliding (X-9, SW-40)."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._utils.schedules import schedule_execution_time_iterator

from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.instance import ROOT
from pipeline_platform.orchestration.maintenance import maintenance_pool
from pipeline_platform.settings import Settings

MONTHLY, WEEKLY = "web_events_monthly_review", "web_events_maintenance"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home: Path = tmp_path_factory.mktemp("windows")
    return build_defs(Settings(home=home, environment="production"))


def next_run(definitions: dg.Definitions, job: str) -> datetime:
    """When a job runs next after the last day of a month that begins on a Sunday."""
    (schedule,) = [one for one in definitions.schedules or [] if one.job_name == job]
    after = datetime(2026, 10, 31, 12, tzinfo=UTC).timestamp()
    times = schedule_execution_time_iterator(
        after, schedule.cron_schedule, schedule.execution_timezone, ascending=True
    )
    return next(times)


def test_on_the_first_sunday_the_review_begins_an_hour_before_the_maintenance(definitions) -> None:
    begins = [next_run(definitions, job).isoformat() for job in (MONTHLY, WEEKLY)]
    assert begins == ["2026-11-01T01:00:00+00:00", "2026-11-01T02:00:00+00:00"]


@pytest.mark.parametrize("job", [MONTHLY, WEEKLY])
def test_both_take_the_same_turn(definitions: dg.Definitions, job: str) -> None:
    nodes = definitions.resolve_job_def(job).nodes
    assert {one.definition.pool for one in nodes} == {maintenance_pool("web_events")}


def test_a_turn_is_one_runs_at_a_time() -> None:
    """With granularity `run` a run waits as a whole until the pool is free."""
    pools = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))["concurrency"]["pools"]
    assert pools == {"granularity": "run", "default_limit": 1}
