"""A load that is killed at any instant leaves the old month, and the next load completes it."""

import hashlib
import random
import signal
import subprocess
import sys
import time

import psycopg
import pytest

from pipeline_platform.warehouse.bulk_load import replace_month
from pipeline_platform.warehouse.control import complete_partition
from pipeline_platform.warehouse.database import Database
from tests.integration.warehouse.performance_rows import MONTH, performance_rows

ACCOUNTS = 700
KILLS = 5
LOAD = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.faults.test_load_killed import load
load(sys.argv[1], is_ready=lambda: print("ready", flush=True))
"""


def content(url):
    """Digest of every row of the table, and whether the register says that it was loaded."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT account_id, as_of_date, market_value, reconciliation_status"
            " FROM performance_data ORDER BY account_id, as_of_date"
        ).fetchall()
        loaded = connection.execute("SELECT count(*) FROM partition_loads").fetchone()[0]
    return hashlib.sha256(repr(rows).encode()).hexdigest(), loaded


def start_load(url, root):
    command = [sys.executable, "-c", LOAD, url, str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def load_undisturbed(url, root):
    process = start_load(url, root)
    began = time.monotonic()
    process.wait()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def undisturbed(new_database, request):
    """Content before and after a load that nobody disturbs, and how long it takes."""
    url = prepare(new_database())
    before = content(url)
    seconds = load_undisturbed(url, request.config.rootpath)
    return before, content(url), seconds


def load(url, is_ready=lambda: None):
    """Load the month anew; all that comes before the load is done when `is_ready` is called."""
    rows = performance_rows(ACCOUNTS, value=2)
    with Database(url) as database:
        with database.connection():
            pass  # connect before the clock starts
        is_ready()
        replace_month(
            database,
            MONTH,
            rows.to_reader(),
            on_commit=lambda c: complete_partition(c, "advisory_performance", "2026-10-01", 7),
        )


def prepare(url):
    with Database(url) as database:
        with database.transaction() as connection:
            connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard')")
        rows = performance_rows(20, value=1)
        replace_month(database, MONTH, rows.to_reader(), on_commit=lambda _: None)
    return url


def leftovers(url):
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'loading'::regnamespace"
        ).fetchone()[0]


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_load_is_completed_by_the_next(undisturbed, new_database, request, number):
    before, after, seconds = undisturbed
    # One kill in each fifth of the time, at a random instant of it; sooner, where it was too late.
    delay, is_killed = seconds * (number + random.random()) / KILLS, False
    while not is_killed:
        url = prepare(new_database())
        process = start_load(url, request.config.rootpath)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        is_killed, delay = process.wait() == -signal.SIGKILL, delay / 2
    left = content(url)
    load(url)

    is_whole = left in (before, after)
    assert (is_whole, content(url), leftovers(url)) == (True, after, 0)
