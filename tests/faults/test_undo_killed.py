"""SIGKILL while runs are undone, at random lines, and again: in the end nothing remains of them."""

import multiprocessing
import random
import signal
from pathlib import Path
from typing import Any

import pipeline_platform
from pipeline_platform.failures import PermanentError
from pipeline_platform.services import Services
from tests.assets.platform_runs import settings_at
from tests.faults.lines import counted_lines
from tests.integration.web_events import undone
from tests.integration.web_events.event_files import refine_requested

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"])
FOLDER = str(Path(pipeline_platform.__file__).parent)
KILLS = 4


def undo_both(home: Path, url: str, kill_at: int | None, lines: Any) -> None:
    with (
        Services(settings_at(home, url)) as services,
        counted_lines(FOLDER, kill_at=kill_at) as counted,
    ):
        finish(services)
    lines.value = counted.count


def finish(services: Services) -> None:
    """Undo the refinement and then the ingest, as far as they are not undone yet."""
    for run_id in ("refine-2", "ingest-2"):
        try:
            undone.undo(services, run_id)
        except PermanentError as error:
            if "was undone at" not in str(error):
                raise


def run_child(home: Path, url: str, kill_at: int | None = None) -> tuple[int | None, int]:
    lines = PROCESSES.Value("i", 0)
    child = PROCESSES.Process(target=undo_both, args=(home, url, kill_at, lines))
    child.start()
    child.join(120)
    return child.exitcode, lines.value


def prepare(home: Path, url: str) -> dict[str, object]:
    """Take in and refine two deliveries; return the state before the second."""
    with Services(settings_at(home, url)) as services:
        undone.first_delivery(services)
        before = undone.state(services)
        undone.second_delivery(services)
        refine_requested(undone.run(services, "refine-2"))
        undone.stop(services)
    return before


def test_killed_and_repeated_an_undo_leaves_what_was_there_before(new_database, tmp_path) -> None:
    quiet, killed = (tmp_path / "quiet", new_database()), (tmp_path / "killed", new_database())
    prepare(*quiet)
    exit_code, lines = run_child(*quiet)
    assert (exit_code, lines > 0) == (0, True)
    before = prepare(*killed)
    moments = random.Random(20261129)
    ended = [run_child(*killed, moments.randint(1, lines // 2))[0] for _ in range(KILLS)]
    assert -signal.SIGKILL in ended
    with Services(settings_at(*killed)) as services:
        finish(services)
        assert undone.state(services) == {**before, "incoming": ["events_2.ndjson"]}
