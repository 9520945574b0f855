"""The lineage exporter killed at any moment, and started again: nothing is left out (XC-9).

What was sent and not yet noted is sent once more, under the same id: at most one piece for each
kill.
"""

import json
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline_platform.services import Services
from tests.faults import lineage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([lineage.__name__])
KILLS = 5
EVENTS_A_PIECE = 2
SECONDS_AN_ANSWER = 0.01


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Give the address of a service that takes its time, and what it got: run and event type."""
    got: list[tuple[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((event["run"]["runId"], event["eventType"]))
            time.sleep(SECONDS_AN_ANSWER)
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


@pytest.fixture(scope="module")
def told(new_database, tmp_path_factory) -> tuple[Counter[tuple[str, str]], int]:
    """How often each event was got, and how many processes were killed at work."""
    home, url = tmp_path_factory.mktemp("lineage") / "home", new_database()
    moments, kills = random.Random(20261130), 0
    with collector() as (address, got):
        with Services(lineage.settings_of(home, url, address)) as services:
            lineage.prepare(services)
        for number in range(KILLS + 1):
            process = PROCESSES.Process(target=lineage.main, args=(home, url, address))
            process.start()
            if number < KILLS:
                before = len(got)
                while len(got) == before and process.is_alive():
                    time.sleep(0.002)
                time.sleep(moments.uniform(0, 10 * SECONDS_AN_ANSWER))
                process.kill()
            process.join(60)
            kills += process.exitcode == -9
        assert process.exitcode == 0
        return Counter(got), kills


def test_every_run_and_load_was_told_to_its_end(told) -> None:
    counts, _ = told
    pieces = lineage.RUNS + lineage.LOADS
    assert Counter(kind for _, kind in counts) == {"START": pieces, "COMPLETE": pieces}


def test_no_more_was_told_twice_than_one_piece_for_each_kill(told) -> None:
    counts, kills = told
    assert sum(counts.values()) - len(counts) <= EVENTS_A_PIECE * kills


def test_processes_were_killed_at_work(told) -> None:
    assert told[1] == KILLS
