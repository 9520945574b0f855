"""A run killed at any moment of stage and publish, and started again, leaves the right rows."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from tests.faults import publishing

KILLS = 5
ROOT = Path(__file__).parents[2]


def start(home, url):
    """Start the writer and return it once it is about to write."""
    command = [sys.executable, "-m", "tests.faults.publishing", str(home), url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process):
    """Wait for a writer that nobody kills, and return how long it wrote."""
    begin = time.perf_counter()
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "done\n")
    return time.perf_counter() - begin


@pytest.fixture
def undisturbed(settings, new_database):
    """Content and duration of a run that nobody killed, on a lake of its own."""
    quiet, url = settings.model_copy(update=locations(settings.home / "quiet")), new_database()
    seconds = finish(start(quiet.home, url))
    return content(quiet, url), seconds


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
        process = start(settings.home, database_url)
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        process.communicate()
    finish(start(settings.home, database_url))
    assert content(settings, database_url) == expected
