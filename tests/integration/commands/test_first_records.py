"""`pipelines resume --first-records-within`: that taking in goes on is seen, not hoped (SW-52)."""

import threading
import time

import pytest
from typer.testing import Result

from pipeline_platform.run_context import utc_now
from tests.integration.commands.conftest import Shell
from tests.integration.web_events.event_files import deliver, events, ingest, run_of

FILE = "events_1.ndjson"


@pytest.fixture
def stopped(shell: Shell) -> Shell:
    """A platform on which everything was stopped."""
    shell("pipelines", "stop", "--reason", "recovery")
    return shell


def resume(shell: Shell, within: str, pipeline: str = "web") -> Result:
    return shell("pipelines", "resume", pipeline, "--first-records-within", within)


def test_the_first_records_are_told(stopped: Shell) -> None:
    stopped("pipelines", "resume")

    def take_in() -> None:
        time.sleep(1)
        with stopped.services() as services:
            deliver(services, FILE, events(7), arrived_at=utc_now())
            ingest(run_of(services, now=utc_now()))

    taking = threading.Thread(target=take_in)
    taking.start()
    told = resume(stopped, "60s")
    taking.join()
    assert told.exit_code == 0, told.output
    assert f"web_events took in 7 records of {FILE}" in told.stdout


def test_files_that_wait_and_are_not_taken_are_a_fault(stopped: Shell) -> None:
    stopped("pipelines", "resume")
    with stopped.services() as services:
        deliver(services, FILE, events(7))
    told = resume(stopped, "1s")
    assert told.exit_code == 1
    assert "web_events has 1 files waiting and took in nothing" in " ".join(told.stderr.split())


def test_where_nothing_was_delivered_it_is_to_be_asked_later(stopped: Shell) -> None:
    stopped("pipelines", "resume")
    told = resume(stopped, "1s")
    assert told.exit_code == 75
    assert "Nothing was delivered to web_events" in told.stderr


def test_what_is_stopped_with_everything_is_not_waited_for(stopped: Shell) -> None:
    told = resume(stopped, "1h")
    assert told.exit_code == 2
    assert "is stopped still" in told.stderr
