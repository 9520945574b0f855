"""One forking process and one undisturbed run for all tests that kill runs of the pipeline."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.assets.content import Content
from tests.faults.killing import KillableRuns, Work, delivered, end_state


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody kills leaves, and how long its parts take."""

    content: Content
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def killable_runs() -> Iterator[KillableRuns]:
    with KillableRuns() as runs:
        yield runs


@pytest.fixture(scope="session")
def undisturbed_pipeline(killable_runs, new_database, tmp_path_factory) -> Undisturbed:
    settings = delivered(tmp_path_factory.mktemp("undisturbed_pipeline"), new_database())
    works: tuple[Work, ...] = ("ingest", "months")
    seconds = {work: killable_runs.run(settings, work).seconds for work in works}
    return Undisturbed(end_state(settings), seconds)
