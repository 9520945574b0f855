"""SIGKILL while event files go to bronze and silver, at random moments, and start again."""

import pytest

from tests.faults.killing import moments_to_kill
from tests.faults.web_events import delivered, end_state, leaks

SEEDS = (11, 12)
KILLS_PER_SEED = 3


@pytest.fixture(scope="module")
def undisturbed(killable_runs, new_database, tmp_path_factory):
    settings = delivered(tmp_path_factory.mktemp("undisturbed_events"), new_database())
    ended = killable_runs.run(settings, "web_events")
    killable_runs.finish(settings, "web_events")
    return end_state(settings), ended.seconds


@pytest.fixture(scope="module")
def killed(killable_runs, undisturbed, new_database, tmp_path_factory):
    platforms, kills = [], []
    for seed in SEEDS:
        settings = delivered(tmp_path_factory.mktemp(f"events_{seed}"), new_database())
        for moment in moments_to_kill(seed, undisturbed[1], KILLS_PER_SEED):
            ended = killable_runs.run(settings, "web_events", kill_after=moment)
            print(f"seed {seed}: kill after {moment:.3f} s, ended with {ended.exit_code}")
            kills.append(ended.was_killed)
        killable_runs.finish(settings, "web_events")
        platforms.append(settings)
    return platforms, kills


def test_the_runs_were_really_killed(killed) -> None:
    assert sum(killed[1]) >= len(SEEDS)


def test_nothing_is_lost_and_nothing_there_twice(killed, undisturbed) -> None:
    assert [end_state(one) == undisturbed[0] for one in killed[0]] == [True] * len(SEEDS)


def test_every_record_is_accounted_for(killed) -> None:
    assert [leaks(one) for one in killed[0]] == [[]] * len(SEEDS)
