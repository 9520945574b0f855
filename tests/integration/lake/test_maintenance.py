"""All maintenance of some tables: one after the other, under locks, recorded, planned first."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipeline_platform import advisory_performance
from pipeline_platform.failures import TransientError
from pipeline_platform.operations.maintenance import Maintainer
from pipeline_platform.runbook import CompactionLimits, Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse.locks import named_lock

RUNBOOK = Runbook.load(Path(advisory_performance.__file__).parent / "runbook.yaml")
LIMITS = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
STRICT = {"snapshots_kept_days": 1, "snapshots_kept_count": 1, "orphans_kept_days": 1}
FEW = {"snapshots_kept_days": 30, "snapshots_kept_count": 1, "snapshots_kept_most": 1}


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def maintainer(services):
    """Maintenance two days from now, with limits that everything crosses."""
    maintenance = RUNBOOK.maintenance.model_copy(update={**STRICT, "compaction": LIMITS})
    return Maintainer(
        services=services,
        runbook=RUNBOOK.model_copy(update={"maintenance": maintenance}),
        run_id="maintenance-1",
        unfinished_runs=lambda: (),
        clock=lambda: datetime.now(UTC) + timedelta(days=2),
        lock_wait_seconds=0.2,
    )


@pytest.fixture
def fragmented(append):
    for number in range(3):
        append(run_id=f"run-{number}")


@pytest.fixture
def recorded(database):
    """Return what was recorded: operation, outcome, files before and after."""

    def read():
        with database.connection() as connection:
            return connection.execute(
                "SELECT operation, outcome, files_before, files_after FROM maintenance_runs"
                " ORDER BY maintenance_id"
            ).fetchall()

    return read


def tree(folder):
    return {str(p): p.stat().st_mtime_ns for p in Path(folder).rglob("*") if p.is_file()}


def test_a_table_is_compacted_and_what_is_not_needed_removed(
    maintainer, lake, balances, fragmented, content
):
    before = content(lake, balances)
    list(maintainer.maintain([balances]))
    left = list(Path(lake.iceberg(balances).location()).rglob("*.parquet"))
    assert (content(lake, balances), [str(path) for path in left]) == (
        before,
        lake.files(balances),
    )


def test_every_operation_is_recorded(maintainer, balances, fragmented, recorded):
    list(maintainer.maintain([balances]))
    found = recorded()
    assert [one[:2] for one in found] == [
        ("compaction", "DONE"),
        ("statistics", "DONE"),
        ("expiry", "DONE"),
        ("orphans", "DONE"),
    ]
    assert found[0][2:] == (3, 1)


def test_the_proof_of_a_compaction_is_recorded(
    maintainer, lake, balances, fragmented, database, content
):
    before = content(lake, balances)
    list(maintainer.maintain([balances], ["compaction"]))
    with database.connection() as connection:
        (proof,) = connection.execute("SELECT proof FROM maintenance_runs").fetchone()
    assert proof == {
        "2026-10-01": {
            "rows": before.row_count,
            "hash_sum": str(before.hash_sum),
            "hash_xor": str(before.hash_xor),
        }
    }


def test_a_dry_run_changes_nothing(maintainer, settings, balances, fragmented, recorded):
    before = tree(settings.home)
    list(maintainer.maintain([balances], dry_run=True))
    maintainer.clean_up(dry_run=True)
    assert (tree(settings.home), recorded()) == (before, [])


def test_a_dry_run_tells_what_would_be_done(maintainer, balances, fragmented):
    compaction, _, expiry, _ = maintainer.maintain([balances], dry_run=True)
    assert (compaction.effect.files_before, expiry.effect.message) == (3, "2 of 3 snapshots")


def test_a_runbook_bounds_how_many_snapshots_are_remembered(
    maintainer, services, lake, balances, fragmented
):
    maintenance = maintainer.runbook.maintenance.model_copy(update=FEW)
    few = replace(
        maintainer, runbook=maintainer.runbook.model_copy(update={"maintenance": maintenance})
    )
    list(few.maintain([balances], ["expiry"]))
    assert len(lake.snapshots(balances)) == 1


def test_a_maintained_table_has_statistics_of_what_it_became(
    maintainer, lake, balances, fragmented
):
    list(maintainer.maintain([balances]))
    assert lake.has_statistics(balances)


def test_statistics_are_not_counted_twice(maintainer, balances, fragmented):
    list(maintainer.maintain([balances]))
    (again,) = maintainer.maintain([balances], ["statistics"])
    assert again.effect.message == "up to date"


def test_a_table_that_does_not_exist_is_passed_over(maintainer, balances):
    assert list(maintainer.maintain([balances])) == []


@pytest.fixture
def damaged(append, lake, balances):
    """A table one of whose files is gone."""
    table = replace(balances, name="damaged")
    for number in range(3):
        append(run_id=f"run-{number}", table=table)
    Path(lake.files(table)[0]).unlink()
    return table


def test_one_tables_failure_does_not_stop_the_next(maintainer, lake, balances, fragmented, damaged):
    reports = list(maintainer.maintain([damaged, balances]))
    failed = {(one.table, one.operation) for one in reports if one.failure}
    operations = ("compaction", "statistics", "orphans")
    assert failed == {("silver/damaged", operation) for operation in operations}
    assert len(lake.files(balances)) == 1


def test_a_failure_is_recorded(maintainer, damaged, recorded):
    list(maintainer.maintain([damaged], ["orphans"]))
    assert recorded() == [("orphans", "FAILED", 0, 0)]


def test_a_table_that_another_maintenance_holds_is_left_alone(
    maintainer, services, lake, balances, fragmented
):
    lock = f"maintenance.{'.'.join(balances.identifier)}"
    with named_lock(services.database, lock):
        reports = list(maintainer.maintain([balances], ["compaction"]))
    assert ("Another run has held" in reports[0].failure, len(lake.files(balances))) == (True, 3)


def test_two_maintenances_at_once_take_turns(maintainer, lake, balances, fragmented, content):
    before = content(lake, balances)
    patient = replace(maintainer, lock_wait_seconds=30)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(lambda: list(patient.maintain([balances]))) for _ in range(2)]
        failures = [one.failure for each in both for one in each.result() if one.failure]
    assert (failures, content(lake, balances)) == ([], before)


def test_a_lost_lock_is_noticed_before_anything_is_removed(maintainer, balances, database_url):
    with maintainer.locked(balances) as still_alone:
        still_alone()
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        with pytest.raises((TransientError, psycopg.Error)):
            still_alone()


def test_clean_up_is_reported(maintainer, settings, recorded):
    path = settings.home / "temp" / "left" / "behind"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    later = replace(maintainer, clock=lambda: datetime.now(UTC) + timedelta(days=8))
    report = later.clean_up()
    assert ([one.path for one in report.files], path.exists()) == ([str(path)], False)
    assert recorded() == [("clean-up", "DONE", 1, 0)]
