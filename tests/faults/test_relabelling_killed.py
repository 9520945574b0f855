"""SIGKILL while history is relabelled, at random moments, and start again (B-10)."""

import pytest

from tests.faults.killing import moments_to_kill
from tests.faults.relabelling import end_state, labelled, visible_states
from tests.integration.web_events.event_files import DAY

SEEDS = (21, 22)
KILLS_PER_SEED = 4


@pytest.fixture(scope="module")
def undisturbed(killable_runs, new_database, tmp_path_factory):
    settings = labelled(tmp_path_factory.mktemp("undisturbed_labels"), new_database())
    killable_runs.run(settings, "relabelling")
    again = labelled(tmp_path_factory.mktemp("undisturbed_time"), new_database())
    return end_state(settings), killable_runs.run(again, "relabelling").seconds


@pytest.fixture(scope="module")
def killed(killable_runs, undisturbed, new_database, tmp_path_factory):
    platforms, kills, seen = [], [], []
    for seed in SEEDS:
        settings = labelled(tmp_path_factory.mktemp(f"labels_{seed}"), new_database())
        for moment in moments_to_kill(seed, undisturbed[1], KILLS_PER_SEED):
            ended = killable_runs.run(settings, "relabelling", kill_after=moment)
            print(f"seed {seed}: kill after {moment:.3f} s, ended with {ended.exit_code}")
            kills.append(ended.was_killed)
            seen.append(len(visible_states(settings)))
        killable_runs.finish(settings, "relabelling")
        platforms.append(settings)
    return platforms, kills, seen


def test_the_runs_were_really_killed(killed) -> None:
    assert sum(killed[1]) >= len(SEEDS)


def test_readers_never_see_half_of_it(killed) -> None:
    assert set(killed[2]) == {1}


def test_every_event_gets_its_label_and_every_changed_day_is_requested(killed, undisturbed) -> None:
    assert undisturbed[0][1:] == ([str(DAY)], 0)
    assert [end_state(one) == undisturbed[0] for one in killed[0]] == [True] * len(SEEDS)
