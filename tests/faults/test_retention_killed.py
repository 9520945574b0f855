"""Retention killed in any of its phases, and started again, ends as if nobody had killed it."""

import random

import pytest

from tests.faults import retaining
from tests.faults.phases import PhasedWork

WORK = PhasedWork(retaining)


@pytest.fixture(scope="module")
def undisturbed(new_database, tmp_path_factory):
    """What is left after a pass that nobody killed, and how long its phases take."""
    home, url = tmp_path_factory.mktemp("quiet"), new_database()
    retaining.prepare(home, url)
    seconds = WORK.finish(home, url)
    return retaining.left(home, url), seconds


@pytest.fixture(scope="module")
def killed(new_database, tmp_path_factory, undisturbed):
    """What is left after passes that were killed once in each phase, and one that was not."""
    home, url = tmp_path_factory.mktemp("killed"), new_database()
    retaining.prepare(home, url)
    moments = random.Random(20261129)
    for phase in retaining.PHASES:
        WORK.kill_in(phase, home, url, moments.uniform(0, undisturbed[1][phase]))
    WORK.finish(home, url)
    return home, url


def test_a_pass_leaves_what_is_latest_and_what_is_needed(undisturbed) -> None:
    assert undisturbed[0] == (1, 1, 1)


def test_started_again_it_ends_like_one_that_nobody_killed(killed, undisturbed) -> None:
    assert retaining.left(*killed) == undisturbed[0]


def test_no_event_is_left_of_a_run_that_went(killed) -> None:
    with retaining.instance_at(killed[0]) as instance:
        known = {run.run_id for run in instance.get_runs()}
        records = instance.fetch_materializations(retaining.weather.key, limit=100).records
    assert {one.run_id for one in records} == known
