"""A backup that is killed is none: what is listed is whole, and what it left is removed."""

from datetime import timedelta

import pytest

from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.retention import plan_removal
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from tests.faults import backing_up
from tests.faults.phases import PhasedWork
from tests.integration.recovery.conftest import BALANCES, MONTHS, publish


@pytest.fixture(scope="module")
def place(tmp_path_factory, new_database):
    """Home, address and undisturbed times of a backup of a small lake."""
    home, url = tmp_path_factory.mktemp("backup") / "home", new_database()
    settings = backing_up.settings_at(home, url)
    with Services(settings) as services:
        for month in MONTHS:
            publish(services, BALANCES, month, 100, f"run of {month}")
    work = PhasedWork(backing_up)
    return settings, url, work, work.finish(home, url)


@pytest.mark.parametrize("phase", backing_up.PHASES)
@pytest.mark.parametrize("share", [0.1, 0.8])
def test_a_killed_backup_leaves_none_or_a_whole_one(place, phase, share) -> None:
    settings, url, work, seconds = place
    sets = BackupSets(settings)
    work.kill_in(phase, settings.home, url, seconds[phase] * share)
    for backup in sets.all():
        assert verify_backup(sets, backup, utc_now()).faults == ()


def test_the_next_backup_is_whole_and_what_was_left_goes(place) -> None:
    settings, url, work, _ = place
    sets = BackupSets(settings)
    work.kill_in("lake", settings.home, url, 0)
    work.finish(settings.home, url)
    newest = sets.newest()
    assert verify_backup(sets, newest, utc_now()).faults == ()
    plan = plan_removal(
        sets,
        kept_for=timedelta(days=7),
        lake_kept_for=timedelta(days=1),
        kept_count=1,
        now=utc_now(),
    )
    gone = {one.key.split("/")[1] for one in plan if not one.key.startswith("lake/")}
    assert gone
    assert not gone & set(sets.ids())
