"""What a pipeline's package tells the platform beside its runbook: how it is read and processed.

Each package has a `registration.py` with its `REGISTRATION`. Commands and the code location find
it by the pipeline's name, so that a new pipeline needs no line of theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.ingestion.replay import FilePreview, Foretold
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.sensors import RequestedRange
from pipeline_platform.partition_ranges import Unit
from pipeline_platform.quality.passport import ShownPassport
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment


@dataclass(frozen=True)
class Registration:
    """How a pipeline's files are read, its partitions processed and its served tables loaded.

    `intake` reads its files in a run of the given id. `requested` says which ranges wait for a
    run of the job `workflow`; `is_linked`: later partitions are computed from earlier ones.
    `reload` loads partitions of its serving tables again from gold, in a run of the given id;
    None for a pipeline that serves nothing. `sample_queries` are what readers ask, by name: they
    must be answered after a restoration. `reconciliation` writes what was delivered beside what was
    computed to a CSV file, for who compares them after a recovery, and returns how many rows.
    `intake_through` reads the files through the mappings of another folder, to try them; None
    where nothing is mapped. `foretell` says what reading held files again would move, given such
    an intake, the preview, and the folder of its rows; None where that is not known. `passport`
    leads from what is served under a key, of a day, back to the delivered lines.
    """

    definitions: Callable[[Environment], dg.Definitions]
    bronze: LakeTable
    intake: Callable[[Services, str], Intake]
    unit: Unit
    workflow: str
    requested: Callable[[Services], Sequence[RequestedRange]]
    sample_queries: Callable[[Services], Mapping[str, Callable[[], object]]] = lambda _: {}
    reconciliation: Callable[[Services, Path], int] | None = None
    intake_through: Callable[[Services, str, Path], Intake] | None = None
    foretell: Callable[[Any, FilePreview, Path], Foretold] | None = None
    passport: Callable[[Services, str, date | None], ShownPassport] | None = None
    is_linked: bool = False
    reload: Callable[[Services, str, Sequence[date]], None] | None = None


def registration_of(pipeline: str) -> Registration:
    """Return what a pipeline's package registers; InvalidRunbookError if it registers nothing."""
    module = f"pipeline_platform.{pipeline}.registration"
    if find_spec(module) is None:
        raise InvalidRunbookError(
            f"The pipeline {pipeline} has a runbook, but no registration.py beside it that says "
            "how its files are read and its partitions processed."
        )
    found: Registration = import_module(module).REGISTRATION
    return found
