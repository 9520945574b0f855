"""One forking process and one undisturbed run for all tests that kill runs of the pipeline."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.assets.content import Content
from tests.faults.killing import KillableRuns, delivered, end_state


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody kills leaves, and how long its parts take."""

    content: Content
    ingest_seconds: float
    months_seconds: float


@pytest.fixture(scope="session")
def killable_runs() -> Iterator[KillableRuns]:
    with KillableRuns() as runs:
        yield runs


@pytest.fixture(scope="session")
def undisturbed_pipeline(killable_runs, new_database, tmp_path_factory) -> Undisturbed:
    settings = delivered(tmp_path_factory.mktemp("undisturbed_pipeline"), new_database())
    ingest = killable_runs.run(settings, "ingest")
    months = killable_runs.run(settings, "months")
    return Undisturbed(end_state(settings), ingest.seconds, months.seconds)
