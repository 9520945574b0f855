"""A run killed at any moment of stage and publish, and started again, leaves the right rows."""

import random

import pytest

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from tests.faults import publishing
from tests.faults.phases import PhasedWork

KILLS = 5
WORK = PhasedWork(publishing)


@pytest.fixture
def undisturbed(settings, new_database):
    """Content and duration of a run that nobody killed, on a lake of its own."""
    quiet, url = settings.model_copy(update=locations(settings.home / "quiet")), new_database()
    seconds = WORK.finish(quiet.home, url)
    return content(quiet, url), seconds["writing"]


def locations(home):
    return {"home": home, "processed_location": str(home / "lake")}


def content(settings, url):
    lake = Lake.open(settings, url)
    with connect(settings) as con:
        found = publishing.content(lake, con)
    lake.close()
    return found


def test_a_killed_and_repeated_run_leaves_the_rows_of_an_undisturbed_one(
    settings, database_url, undisturbed
):
    expected, seconds = undisturbed
    moments = random.Random(20261001)
    for _ in range(KILLS):
        WORK.kill_in("writing", settings.home, database_url, moments.uniform(0, seconds))
    WORK.finish(settings.home, database_url)
    assert content(settings, database_url) == expected
