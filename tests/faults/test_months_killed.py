"""SIGKILL while months go from bronze to PostgreSQL, at random moments, and start again."""

import random

import pytest

from tests.assets.content import differences
from tests.faults.killing import delivered, end_state, leaks

SEED = 201
KILLS = 4


@pytest.fixture(scope="module")
def killed(killable_runs, undisturbed_pipeline, new_database, tmp_path_factory):
    """A platform whose months were killed and restarted again and again, then finished."""
    settings = delivered(tmp_path_factory.mktemp("months"), new_database())
    killable_runs.finish(settings, "ingest")
    moments = random.Random(SEED)
    kills = []
    for _ in range(KILLS):
        moment = moments.uniform(0, undisturbed_pipeline.months_seconds)
        ended = killable_runs.run(settings, "months", kill_after=moment)
        print(f"seed {SEED}: kill after {moment:.3f} s, ended with {ended.exit_code}")
        kills.append(ended.was_killed)
    killable_runs.finish(settings)
    return settings, kills


def test_the_runs_were_really_killed(killed) -> None:
    assert sum(killed[1]) >= KILLS // 2


def test_nothing_is_lost_and_nothing_there_twice(killed, undisturbed_pipeline) -> None:
    assert differences(undisturbed_pipeline.content, end_state(killed[0])) == {}


def test_every_record_is_accounted_for(killed) -> None:
    assert leaks(killed[0]) == []
