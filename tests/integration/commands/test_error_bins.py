"""Failed runs by time: those of the window, of one pipeline, in the bin in which they ended."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_platform.commands.error_bins import bin_start, failed_runs

FIVE = timedelta(minutes=5)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def fail_run(instance: dg.DagsterInstance, job: str) -> datetime:
    """Let a run fail now and return when."""
    run = instance.add_run(dg.DagsterRun(job, status=dg.DagsterRunStatus.STARTED))
    instance.report_run_failed(run)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    return datetime.fromtimestamp(record.end_time, UTC)


def test_a_failed_run_counts_where_it_ended(instance) -> None:
    ended = fail_run(instance, "web_events_ingest")

    found = failed_runs(instance, ended - FIVE, FIVE, None)

    assert found == {bin_start(ended, FIVE): 1}


def test_a_run_of_another_pipeline_is_left_out(instance) -> None:
    ended = fail_run(instance, "web_events_ingest")

    assert failed_runs(instance, ended - FIVE, FIVE, "advisory_performance") == {}


def test_a_run_that_failed_before_the_window_is_left_out(instance) -> None:
    ended = fail_run(instance, "web_events_ingest")
    time.sleep(0.01)

    assert failed_runs(instance, ended + timedelta(milliseconds=5), FIVE, None) == {}


def test_a_run_that_went_well_is_no_error(instance) -> None:
    instance.add_run(dg.DagsterRun("web_events_ingest", status=dg.DagsterRunStatus.SUCCESS))

    assert failed_runs(instance, datetime.now(UTC) - FIVE, FIVE, None) == {}


def test_a_bin_starts_at_a_multiple_of_its_width() -> None:
    at = datetime(2026, 11, 21, 9, 7, 31, tzinfo=UTC)
    assert bin_start(at, FIVE) == datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
