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
from pipeline_platform.recovery import exercises
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backup_sets import Verdict as Verified
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.drills import DrillResult, Found, drill, is_comparable, last_drill
from pipeline_platform.recovery.exercises import (
    Ground,
    _done,
    _ground,
    exercise_lake,
    kill_commit,
)
from pipeline_platform.recovery.proof import compared_tables, recoverable_point
from pipeline_platform.recovery.restoration import restore_lake
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from tests.integration.recovery.conftest import BALANCES, MONTHS, BackedUp, publish


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


WAYS = ["failover", "lost partition", "corrupt file", "kill in mid-commit"]


def test_a_drill_exercises_every_way_of_recovery_that_the_row_names(result: DrillResult) -> None:
    """B-11."""
    assert [one.name for one in result.exercises] == WAYS
    assert {(one.faults, one.skipped) for one in result.exercises} == {((), None)}
    assert all(one.seconds > 0 for one in result.exercises)


def test_exercises_are_no_part_of_the_time_until_everything_is_back(result: DrillResult) -> None:
    took = (result.ended_at - result.began_at).total_seconds()
    in_the_lake = sum(one.seconds for one in result.exercises if one.name != "failover")
    assert result.seconds < took - 0.9 * in_the_lake


@pytest.fixture(scope="module")
def ground(backed_up: BackedUp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Lend a lake of its own, restored from the shared backup, that exercises may break."""
    home = tmp_path_factory.mktemp("ground")
    settings = Settings(home=home, environment="test")
    embedded.start(settings, is_durable=False)
    try:
        with Services(settings) as services:
            restore_lake(
                services, backed_up.sets, backed_up.backup, location=settings.processed_location
            )
            found = _ground(services, backed_up.backup)
            assert found is not None
            yield found
    finally:
        embedded.stop(settings)


def test_the_ground_is_the_smallest_partitioned_table(ground: Ground) -> None:
    assert (ground.table.name, str(ground.value)) == ("balances", MONTHS[0])


def test_a_way_that_does_not_bring_back_what_was_there_is_a_fault(ground: Ground) -> None:
    """Prove the proof: a partition that nobody restores, and a value that became another."""

    def nobody_restores(one: Ground) -> list[str]:
        one.lake.iceberg(one.table).delete(f"as_of_month == '{one.value}'")
        return []

    def doubled(one: Ground) -> list[str]:
        publish(one.services, BALANCES, MONTHS[0], 200, "other figures")
        return []

    found = [_done("lost partition", ground, work) for work in (nobody_restores, doubled)]
    told = "lost partition: sample_silver.balances does not hold what it held before"
    assert [one.faults for one in found] == [(told,), (told,)]


def test_a_process_that_can_not_start_is_a_fault_and_no_silent_pass(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercises.sys, "executable", "/bin/true")
    told = "kill in mid-commit: the process that was to be killed ended before it had anything to"
    assert _done("kill in mid-commit", ground, kill_commit).faults[0].startswith(told)


def test_a_backup_without_a_partitioned_table_says_what_was_skipped(backed_up: BackedUp) -> None:
    lake = backed_up.backup.lake
    totals = tuple(one for one in lake.tables if one.identifier[1] == "totals")
    only = backed_up.backup.model_copy(update={"lake": lake.model_copy(update={"tables": totals})})
    found = exercise_lake(backed_up.services, backed_up.sets, only)
    assert {one.skipped for one in found} == {"the backup has no partitioned table with rows"}


def test_a_fault_of_an_exercise_turns_the_check_red(
    backed_up: BackedUp, result: DrillResult
) -> None:
    faulty = result.model_copy(update={"faults": ("failover: the copy only reads",)})
    backed_up.sets.store.put("drills/9999.json", faulty.model_dump_json().encode())
    try:
        verdict = Judged(backed_up.services)("backup_faults", at=utc_now())
        assert (verdict.outcome, verdict.severity) == ("fail", "critical")
    finally:
        backed_up.sets.store.delete("drills/9999.json")


def test_tables_that_can_not_be_compared_are_said_and_not_counted_as_proven(
    backed_up: BackedUp,
) -> None:
    """SW-47."""
    part = backed_up.backup.database.model_copy(update={"is_exact": False})
    found = Found()
    assert not is_comparable(part, found)
    assert found.database_tables == 0
    assert found.skipped[0].startswith(f"{len(part.contents)} tables of the database: others wrote")


def test_a_drill_says_in_its_line_what_was_not_compared(result: DrillResult) -> None:
    told = result.model_copy(update={"skipped": ("the lake: this backup has none",)}).in_words()
    assert told.endswith(", 1 not compared")


def test_a_drill_of_a_sound_backup_compares_everything(result: DrillResult) -> None:
    assert (result.skipped, result.database_tables > 0) == ((), True)


def test_a_table_whose_saved_snapshot_is_forgotten_is_said_to_be_not_compared(
    backed_up: BackedUp,
) -> None:
    """SW-47: a comparison that is left out is no silent pass."""
    tables = backed_up.services.lake.table_sizes()
    name = min(tables)
    lake = backed_up.backup.lake
    forgotten = [
        one.model_copy(update={"snapshot_id": 1}) if ".".join(one.identifier) == name else one
        for one in lake.tables
    ]
    changed = lake.model_copy(update={"tables": tuple(forgotten)})
    newest = backed_up.backup.model_copy(update={"lake": changed})
    wrong, skipped = compared_tables(backed_up.services.lake, newest, tables)
    assert (name in wrong, skipped) == (False, [name])


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
