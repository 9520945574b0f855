"""Marts killed while dbt builds them or while they are published, and built again."""

import random

import pytest

from pipeline_platform.services import Services
from tests.assets.platform_runs import settings_at
from tests.faults import building
from tests.faults.phases import PhasedWork

WORK = PhasedWork(building)
KILLS = ("build", "publication")


@pytest.fixture(scope="module")
def undisturbed(new_database, tmp_path_factory):
    home, url = tmp_path_factory.mktemp("quiet_marts"), new_database()
    with Services(settings_at(home, url)) as services:
        building.prepare(services)
        seconds = WORK.finish(home, url)
        return building.content(services), seconds


@pytest.fixture(scope="module")
def killed(new_database, tmp_path_factory, undisturbed):
    """Marts that were killed again and again, what was seen after each kill, and the end."""
    home, url = tmp_path_factory.mktemp("killed_marts"), new_database()
    moments = random.Random(20261125)
    seen, waiting = [], []
    with Services(settings_at(home, url)) as services:
        building.prepare(services)
        for phase in KILLS:
            # Never so late that nothing is left for the next one.
            after = moments.uniform(0, 0.7) * undisturbed[1][phase]
            WORK.kill_in(phase, home, url, after)
            seen.append(building.content(services))
            waiting.append(building.left_to_do(services)[0])
        WORK.finish(home, url)
        yield services, seen, waiting


def test_after_each_kill_every_mart_is_whole_or_as_before(killed, undisturbed) -> None:
    _, seen, _ = killed
    wrong = [
        name
        for found in seen
        for name, rows in found.items()
        if rows and rows != undisturbed[0][name]
    ]
    assert wrong == []


def test_what_a_killed_build_did_not_publish_is_asked_for_again(killed, undisturbed) -> None:
    _, seen, waiting = killed
    assert any(found != undisturbed[0] for found in seen)
    assert waiting == [building.DAYS] * len(KILLS)


def test_started_again_the_marts_are_those_of_an_undisturbed_build(killed, undisturbed) -> None:
    assert building.content(killed[0]) == undisturbed[0]


def test_then_no_day_waits_and_every_file_is_complete(killed) -> None:
    assert building.left_to_do(killed[0]) == ([], [])
