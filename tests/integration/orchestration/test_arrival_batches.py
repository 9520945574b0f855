"""The arrival sensor's question: what is new, in bounded batches, and what was left behind."""

from datetime import timedelta

import pytest

from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.orchestration.arrivals import arrival_batches
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import ArrivalLimits
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

PIPELINE = "advisory_performance"
LIMITS = ArrivalLimits(max_files=2, max_bytes=1_000_000)
LATER = timedelta(minutes=20)


@pytest.fixture
def zone(settings: Settings) -> LandingZone:
    return LandingZone(settings, PIPELINE)


@pytest.fixture
def services(settings: Settings) -> Services:
    return Services(settings)


def ask(services: Services, cursor: str | None, *, after=timedelta(seconds=10), is_idle=True):
    now = utc_now() + after
    return arrival_batches(services, PIPELINE, cursor, LIMITS, now=now, is_idle=is_idle)


def test_waiting_files_come_in_batches_within_the_limit(services, zone):
    for number in range(5):
        zone.put(f"standard_{number}.csv", b"x%d" % number)

    batches, _ = ask(services, None)

    assert [len(batch.keys) for _, batch in batches] == [2, 2, 1]


def test_a_file_is_given_once_while_it_waits_unchanged(services, zone):
    zone.put("standard_a.csv", b"a")
    _, cursor = ask(services, None)

    batches, _ = ask(services, cursor)

    assert batches == []


def test_an_overwritten_file_is_given_again_under_another_run_key(services, zone):
    zone.put("standard_a.csv", b"a")
    first, cursor = ask(services, None)
    zone.put("standard_a.csv", b"other content")

    second, _ = ask(services, cursor)

    assert first[0][0] != second[0][0]


def test_a_file_that_is_still_being_written_is_left_alone(services, zone):
    zone.put("standard_a.csv", b"a")

    batches, _ = ask(services, None, after=timedelta(0))

    assert batches == []


def test_a_file_whose_run_left_it_behind_is_given_again_under_another_run_key(services, zone):
    zone.put("standard_a.csv", b"a")
    first, cursor = ask(services, None)

    second, _ = ask(services, cursor, after=LATER)

    assert (second[0][1].keys, second[0][0] != first[0][0]) == (("standard_a.csv",), True)


def test_nothing_is_given_again_while_a_run_is_unfinished(services, zone):
    zone.put("standard_a.csv", b"a")
    _, cursor = ask(services, None)

    batches, _ = ask(services, cursor, after=LATER, is_idle=False)

    assert batches == []
