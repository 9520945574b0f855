"""The router of alerts killed at any moment, and started again: nothing lost, nothing told twice.

A webhook knows keys, so that it can drop what a killed process had sent but not yet noted; that is
the only copy there may be, at most one for each kill.
"""

import multiprocessing
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from pipeline_platform.services import Services
from tests.faults import alerting
from tests.integration.operations.local_channels import LocalChannels

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([alerting.__name__])
KILLS = 10


@dataclass(frozen=True)
class Told:
    """What the incidents' timelines say, and what the webhook got: key, incident and kind."""

    timeline: list[tuple[str, str]]
    requests: list[tuple[str, str, str]]
    seconds: float
    kills: int = 0


def start(home, url, hook):
    process = PROCESSES.Process(target=alerting.main, args=(home, url, hook))
    process.start()
    return process


def play(home, url, kill_after=()) -> Told:
    """Let it work, killed so many seconds after each start; the last start is undisturbed."""
    kills = 0
    with LocalChannels() as channels:
        hook = f"json://{channels.address}/hook"
        for seconds in kill_after:
            process = start(home, url, hook)
            time.sleep(seconds)
            process.kill()
            process.join(60)
            kills += process.exitcode == -9
        began = time.perf_counter()
        process = start(home, url, hook)
        process.join(120)
        ended = time.perf_counter() - began
        assert process.exitcode == 0
        bodies = [one.body for one in channels.requests]
    with Services(alerting.settings_of(home, url, hook)) as services:
        timeline = alerting.timeline_of(services)
    requests = [(one["key"], one["incident_key"], one["kind"]) for one in bodies]
    return Told(timeline, requests, ended, kills)


@pytest.fixture(scope="module")
def undisturbed(new_database, tmp_path_factory) -> Told:
    return play(tmp_path_factory.mktemp("quiet"), new_database())


@pytest.fixture(scope="module")
def killed(new_database, tmp_path_factory, undisturbed) -> Told:
    moments = random.Random(20261125)
    # Each start does a part of the work, so that the moments fall into all parts of it.
    share = undisturbed.seconds / 3
    kill_after = [moments.uniform(0, share) for _ in range(KILLS)]
    return play(tmp_path_factory.mktemp("killed"), new_database(), kill_after)


def test_it_was_killed_while_it_worked(killed) -> None:
    assert killed.kills >= 2


def test_every_incident_lives_as_if_nobody_had_killed_anything(killed, undisturbed) -> None:
    assert killed.timeline == undisturbed.timeline
    kinds = Counter(kind for _, kind in killed.timeline)
    assert kinds == dict.fromkeys(("opened", "resolved"), alerting.THINGS * alerting.LIVES)


def test_no_message_is_lost(killed, undisturbed) -> None:
    """Incidents are counted: a transaction that was killed leaves a gap in their numbers."""
    told = [
        Counter(kind for _, kind in {one[1:] for one in played.requests})
        for played in (killed, undisturbed)
    ]
    every = alerting.THINGS * alerting.LIVES
    assert told == [{"opened": every, "resolved": every}] * 2


def test_a_state_is_told_under_one_key_only(killed) -> None:
    keys = Counter(one[1:] for one in set(killed.requests))
    assert set(keys.values()) == {1}


def test_a_copy_is_only_what_a_kill_left_unnoted(killed) -> None:
    copies = len(killed.requests) - len(set(killed.requests))
    assert copies <= killed.kills
