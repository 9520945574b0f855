"""SIGKILL at random moments of the way from `incoming/` to PostgreSQL, and start again."""

import pytest

from tests.assets.content import differences
from tests.faults.killing import delivered, end_state, leaks, moments_to_kill

SEEDS = {"ingest": 12, "months": 201}
KILLS = 4


@pytest.fixture(scope="module", params=[*SEEDS])
def killed(request, killable_runs, undisturbed_pipeline, new_database, tmp_path_factory):
    """A platform whose work was killed and started again and again, then finished."""
    work = request.param
    settings = delivered(tmp_path_factory.mktemp(work), new_database())
    if work == "months":
        killable_runs.finish(settings, "ingest")
    kills = []
    for moment in moments_to_kill(SEEDS[work], undisturbed_pipeline.seconds[work], KILLS):
        ended = killable_runs.run(settings, work, kill_after=moment)
        print(f"kill after {moment:.3f} s, ended with {ended.exit_code}")
        kills.append(ended.was_killed)
    killable_runs.finish(settings)
    return settings, kills


def test_the_runs_were_really_killed(killed) -> None:
    assert sum(killed[1]) >= KILLS // 2


def test_nothing_is_lost_and_nothing_there_twice(killed, undisturbed_pipeline) -> None:
    assert differences(undisturbed_pipeline.content, end_state(killed[0])) == {}


def test_every_record_is_accounted_for(killed) -> None:
    assert leaks(killed[0]) == []
