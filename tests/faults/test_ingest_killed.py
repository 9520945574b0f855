"""SIGKILL while files go from `incoming/` to bronze, at random moments, and start again."""

import random

import pytest

from tests.assets.content import differences
from tests.faults.killing import delivered, end_state, leaks

SEEDS = (101,)
KILLS_PER_SEED = 4


@pytest.fixture(scope="module")
def killed(killable_runs, undisturbed_pipeline, new_database, tmp_path_factory):
    """Platforms whose ingest was killed and restarted; then all the rest ran undisturbed."""
    platforms, kills = [], []
    for seed in SEEDS:
        settings = delivered(tmp_path_factory.mktemp(f"ingest_{seed}"), new_database())
        moments = random.Random(seed)
        for _ in range(KILLS_PER_SEED):
            moment = moments.uniform(0, undisturbed_pipeline.ingest_seconds)
            ended = killable_runs.run(settings, "ingest", kill_after=moment)
            print(f"seed {seed}: kill after {moment:.3f} s, ended with {ended.exit_code}")
            kills.append(ended.was_killed)
        killable_runs.finish(settings)
        platforms.append(settings)
    return platforms, kills


def test_the_runs_were_really_killed(killed) -> None:
    assert sum(killed[1]) >= 2


def test_nothing_is_lost_and_nothing_there_twice(killed, undisturbed_pipeline) -> None:
    found = [differences(undisturbed_pipeline.content, end_state(one)) for one in killed[0]]
    assert found == [{}] * len(SEEDS)


def test_every_record_is_accounted_for(killed) -> None:
    assert [leaks(one) for one in killed[0]] == [[]] * len(SEEDS)
