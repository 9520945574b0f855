"""The maintenance job as Dagster runs it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.orchestration.maintenance import unfinished_runs
from tests.assets.platform_runs import deliver, running

JOB = f"{PIPELINE}_maintenance"
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)


@pytest.fixture
def platform(settings):
    """A platform that took in two files, and has an old temporary file."""
    with running(settings) as opened:
        for number in (1, 2):
            row = f"A{number},2026-01-05,1000.00,,,,,USD\n"
            deliver(settings, f"standard_{number}.csv", (HEADER + row).encode())
            list(ingest_arrivals(RunContext(opened.services, f"ingest-{number}")))
        yield opened


def reported(result):
    (event,) = [one for one in result.all_events if one.event_type_value == "STEP_OUTPUT"]
    return event.step_output_data.metadata


def test_it_reports_every_operation_of_every_table(platform) -> None:
    report = reported(platform.run(JOB))["report"].value
    assert [line.split("|")[1:3] for line in report.splitlines()[2:]] == [
        [" bronze/vendor_rows ", " compaction "],
        [" bronze/vendor_rows ", " statistics "],
        [" bronze/vendor_rows ", " expiry "],
        [" bronze/vendor_rows ", " orphans "],
        [" temporary files ", " clean-up "],
        [" performance_data ", " indexes "],
    ]


def test_a_dry_run_is_a_setting_of_the_launch(platform, settings) -> None:
    before = sorted(Path(settings.processed_location).rglob("*"))
    config = {"ops": {f"{PIPELINE}_maintain": {"config": {"dry_run": True}}}}
    result = platform.run(JOB, run_config=config)
    assert (result.success, sorted(Path(settings.processed_location).rglob("*"))) == (True, before)


def test_a_failure_fails_the_run_once_all_else_was_done(platform) -> None:
    Path(platform.services.lake.files(VENDOR_ROWS)[0]).unlink()
    result = platform.run(JOB)
    (failed,) = [one for one in result.all_events if one.is_step_failure]
    data = failed.step_failure_data.user_failure_data
    assert (result.success, "bronze/vendor_rows (orphans)" in data.description) == (False, True)
    assert "clean-up" in data.metadata["report"].value


def test_a_run_that_maintains_is_unfinished_meanwhile(platform) -> None:
    run = platform.definitions.resolve_job_def(JOB)
    created = platform.instance.create_run_for_job(run)
    before = unfinished_runs(platform.instance)
    platform.run(JOB)
    assert (before, unfinished_runs(platform.instance)) == ({created.run_id}, {created.run_id})


def test_temporary_files_of_last_week_are_removed(platform, settings) -> None:
    import os

    old, young = (Path(settings.temp_location) / name for name in ("old", "young"))
    for path in (old, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    eight_days_ago = (datetime.now(UTC) - timedelta(days=8)).timestamp()
    os.utime(old, (eight_days_ago, eight_days_ago))
    platform.run(JOB)
    assert (old.exists(), young.exists()) == (False, True)
