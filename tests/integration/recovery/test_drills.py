"""A drill proves that a backup comes back, or says what does not; the checks follow it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance.measures import MEASURES, Scope
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.quality.measurements import Verdict
from pipeline_platform.quality.measures import measure
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backup_sets import Verdict as Verified
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.drills import DrillResult, drill, last_drill
from pipeline_platform.recovery.proof import recoverable_point
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.recovery.conftest import BackedUp


@pytest.fixture(scope="module")
def result(backed_up: BackedUp) -> DrillResult:
    """Make one drill of the shared backup."""
    return drill(backed_up.settings, backed_up.sets, backed_up.backup, clock=utc_now)


def test_a_drill_of_a_sound_backup_finds_no_fault(result: DrillResult) -> None:
    assert result.faults == ()
    assert (result.lake_tables, result.lake_rows) == (2, 9)


def test_a_drill_brings_back_what_came_after_the_backup(
    backed_up: BackedUp, result: DrillResult
) -> None:
    assert result.recovered_until > backed_up.between


def test_a_drill_says_how_long_it_took_and_how_old_the_data_are(result: DrillResult) -> None:
    assert 0 < result.seconds < 3600
    assert 0 <= result.data_age_minutes < 60


def test_a_drill_leaves_nothing_in_its_scratch_place(
    backed_up: BackedUp, result: DrillResult
) -> None:
    assert result.faults == ()
    assert not list(Path(backed_up.settings.temp_location).glob("drill-*"))


def test_the_result_is_kept_beside_the_backups(backed_up: BackedUp, result: DrillResult) -> None:
    assert last_drill(backed_up.sets) == result


def test_a_drill_of_a_broken_backup_says_so(backed_up: BackedUp, copied: BackupSets) -> None:
    next(Path(copied.store.location).glob("lake/**/*.parquet")).write_bytes(b"broken")
    next(Path(copied.store.location).glob("database/*/base.tar.gz")).write_bytes(b"broken")
    found = drill(copied.settings, copied, backed_up.backup, clock=utc_now)
    assert "is damaged" in found.faults[0]


@dataclass
class Judged:
    """The checks of a platform at an instant."""

    services: Services

    def __call__(self, name: str, *, at: datetime) -> Verdict:
        run = RunContext(self.services, "test", lambda: at)
        threshold = load_runbook().thresholds[name]
        return measure(Scope(run, (), None), threshold, measures=MEASURES)[1]


@pytest.fixture
def judged(backed_up: BackedUp) -> Judged:
    return Judged(backed_up.services)


def test_a_young_backup_passes_and_an_old_one_does_not(backed_up: BackedUp, judged: Judged) -> None:
    ended = max(one.ended_at for one in backed_up.sets.all())
    assert judged("backup_age", at=ended + timedelta(hours=25)).outcome == "pass"
    late = judged("backup_age", at=backed_up.backup.ended_at + timedelta(hours=27))
    assert (late.outcome, late.severity) == ("fail", "warning")


def test_a_log_that_is_not_kept_for_an_hour_is_critical(judged: Judged) -> None:
    assert judged("recoverable_point", at=utc_now()).outcome == "pass"
    late = judged("recoverable_point", at=utc_now() + timedelta(minutes=61))
    assert (late.outcome, late.severity) == ("fail", "critical")


def test_a_server_by_url_tells_what_it_archived(backed_up: BackedUp) -> None:
    by_url = {"database_url": SecretStr(backed_up.services.database.url)}
    with Services(backed_up.settings.model_copy(update=by_url)) as services:
        judged = Judged(services)
        assert judged("recoverable_point", at=utc_now()).outcome == "pass"
        late = judged("recoverable_point", at=utc_now() + timedelta(minutes=61))
        assert (late.outcome, late.severity) == ("fail", "critical")


def test_a_server_by_url_that_archives_nothing_is_not_measurable(settings: Settings) -> None:
    with Services(settings) as services:
        run = RunContext(services, "test")
        found = recoverable_point(Scope(run, (), None))["database"]
    assert (found.value, "archive_mode is off" in str(found.not_measurable_reason)) == (None, True)


def test_a_drill_that_took_too_long_fails_its_check(backed_up: BackedUp, judged: Judged,
                                                    result: DrillResult) -> None:  # fmt: skip
    assert judged("recovery_time", at=utc_now()).outcome == "pass"
    slow = result.model_copy(update={"seconds": 4.1 * 3600})
    backed_up.sets.store.put("drills/9999.json", slow.model_dump_json().encode())
    try:
        assert judged("recovery_time", at=utc_now()).severity == "warning"
    finally:
        backed_up.sets.store.delete("drills/9999.json")


@pytest.fixture
def found_faulty(backed_up: BackedUp) -> Iterator[PlatformBackup]:
    """Say of a backup that its verification found a fault."""
    daily = backed_up.backup
    faulty = Verified(verified_at=utc_now(), faults=("a file is damaged",))
    backed_up.sets.put_verdict(daily.id, faulty)
    yield daily
    backed_up.sets.put_verdict(daily.id, Verified(verified_at=utc_now(), faults=()))


@pytest.mark.usefixtures("found_faulty")
def test_a_fault_of_a_verification_turns_the_check_red(judged: Judged) -> None:
    assert judged("backup_faults", at=utc_now()).severity == "critical"


def test_a_later_backup_that_nobody_verifies_hides_no_fault(
    backed_up: BackedUp, judged: Judged, found_faulty: PlatformBackup
) -> None:
    later = create_backup(backed_up.services, reason="lake", clock=utc_now, has_database=False)
    assert later.id > found_faulty.id
    assert judged("backup_faults", at=utc_now()).severity == "critical"


def test_a_verification_without_faults_passes(backed_up: BackedUp, judged: Judged) -> None:
    verify_backup(backed_up.sets, backed_up.backup, utc_now())
    assert judged("backup_faults", at=utc_now()).outcome == "pass"
