"""The jobs of backup and drill as Dagster runs them, on a server of the platform's own (SA-92)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from pipeline_platform.services import Services
from tests.assets.platform_runs import running
from tests.integration.recovery.conftest import fill, platform

BACKUP, DRILL = "operations_daily_backup", "operations_recovery_drill"


@dataclass
class Ran:
    """How two jobs ended, one after another: which of their checks passed."""

    succeeded: Mapping[str, bool]
    passed: Mapping[str, Mapping[str, bool]]
    said: Mapping[str, str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run the backup and then the drill on a platform with one table in its lake."""
    with platform(tmp_path_factory.mktemp("jobs")) as settings:
        with Services(settings) as services:
            fill(services)
        with running(settings) as opened:
            ended = {job: opened.run(job) for job in (BACKUP, DRILL)}
        yield Ran(
            {job: result.success for job, result in ended.items()},
            {
                job: {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
                for job, result in ended.items()
            },
            {
                name: str(one.value)
                for made in ended[BACKUP].get_asset_materialization_events()
                for name, one in made.materialization.metadata.items()
            },
        )


@pytest.mark.parametrize("job", [BACKUP, DRILL])
def test_the_job_succeeds(ran: Ran, job: str) -> None:
    assert ran.succeeded[job]


@pytest.mark.parametrize(
    "check",
    [
        "advisory_performance_backup_age",
        "advisory_performance_backup_faults",
        "web_events_unsaved_tables",
    ],
)
def test_after_the_backup_its_checks_pass(ran: Ran, check: str) -> None:
    assert ran.passed[BACKUP][check]


def test_what_the_backup_skipped_is_in_its_metadata(ran: Ran) -> None:
    """SW-47."""
    assert ran.said["second_copy"] == "skipped: PLATFORM_SECOND_BACKUPS_LOCATION is not set"
    assert ran.said["database"].startswith("base")


def test_without_a_second_place_its_check_does_not_pass(ran: Ran) -> None:
    assert not ran.passed[BACKUP]["advisory_performance_second_copy_age"]


def test_after_the_drill_the_time_that_recovery_took_is_judged(ran: Ran) -> None:
    assert ran.passed[DRILL]["advisory_performance_recovery_time"]
